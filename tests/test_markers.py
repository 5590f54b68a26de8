"""Boxes and skeletons as rviz markers: on their pixels, of any calibration, and gone in time."""

import math

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")

import cv2
from sensor_msgs.msg import RegionOfInterest

from sphinx_ros.errors import Status
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.calibration import CalibrationCheck, lift, of_rectified, why_unusable
from sphinx_ros.ros.display import Display
from sphinx_ros.ros.lettering import LETTER, Plates, in_ascii
from sphinx_ros.ros.markers import REQUEST, STANDING, clear_markers, marker_array
from sphinx_ros.ros.outcomes import Outcome
from sphinx_ros.ros.quiet import QuietLog
from sphinx_ros.tasks import Task
from sphinx_ros.types import COCO_KEYPOINTS, Answer, Detection, Keypoint, Pose, Results
from sphinx_ros.world.camera_facts import calibration
from sphinx_ros.world.truth import Camera

SIZE = (640, 480)
K = [500.0, 0.0, 319.5, 0.0, 510.0, 239.5, 0.0, 0.0, 1.0]
P = [480.0, 0.0, 310.0, -48.0, 0.0, 490.0, 235.0, 0.0, 0.0, 0.0, 1.0, 0.0]
MUG = Detection("mug", (10.0, 20.0, 110.0, 220.0), 0.75)
PERSON = Pose(tuple(Keypoint(n, 5.0 * i, 7.0 * i) for i, n in enumerate(COCO_KEYPOINTS)))
HEADER = m.Header(frame_id="camera", stamp=m.Time(sec=12, nanosec=345))


def camera(**fields):
    """A calibrated camera info; fields: what is different."""
    usual = dict(width=640, height=480, distortion_model="plumb_bob", k=K, r=np.eye(3).ravel())
    return m.CameraInfo(**{**usual, **fields})


def outcome(*items, task=Task.DETECT):
    result = items[0] if items and isinstance(items[0], Answer) else Results(items)
    return Outcome(Query(task, "x"), Status.OK, "", result, header=HEADER, width=640, height=480)


def project(points, p):
    """What rviz's Camera display does: P alone."""
    p = np.array(p).reshape(3, 4)
    image = np.hstack([points, np.ones((len(points), 1))]) @ p.T
    return image[:, :2] / image[:, 2:]


def texts(made):
    return [one for one in made.markers if one.type == m.Marker.TEXT_VIEW_FACING and one.text]


def plate(text):
    """The pixels x0, y0, x1, y1 that a text of the camera K covers."""
    at = text.pose.position
    p = [K[0], 0, K[2], 0, 0, K[4], K[5], 0, 0, 0, 1, 0]
    ((x, y),) = project(np.array([[at.x, at.y, at.z]]), p) + 0.5
    high = text.scale.z * K[4] / at.z
    wide = LETTER * high * len(text.text)
    return x - wide / 2, y - high / 2, x + wide / 2, y + high / 2


@pytest.mark.parametrize("depth", [0.5, 3.0])
def test_markers_land_on_their_pixels(depth):
    pixels = np.array([(10.0, 20.0), (630.0, 470.0), (320.0, 240.0)])
    points = lift(pixels, camera(), SIZE, depth)
    assert np.allclose(points[:, 2], depth)
    p = [K[0], 0, K[2], 0, 0, K[4], K[5], 0, 0, 0, 1, 0]
    assert np.allclose(project(points, p), pixels - 0.5, atol=1e-6)


def test_markers_follow_the_rectified_picture_and_a_stereo_baseline():
    info = camera(p=P, d=[0.1, -0.05, 0.001, 0.0, 0.0])
    pixels = np.array([(100.0, 80.0), (500.0, 400.0)])
    k, p = np.array(K).reshape(3, 3), np.array(P).reshape(3, 4)
    flat = cv2.undistortPoints((pixels - 0.5)[:, None], k, np.array(info.d), P=p[:, :3])
    assert np.allclose(project(lift(pixels, info, SIZE, 2.0), P), flat.reshape(-1, 2), atol=1e-4)


def test_the_simulated_camera_is_calibrated_as_its_pixels_are_counted():
    """What stands on the optical axis is at (cx, cy), counted from the picture's corner."""
    made = Camera(640, 480, 500.0, 510.0, 320.0, 240.0)
    info = m.CameraInfo(header=HEADER, **calibration(made))
    assert why_unusable(info) is None
    x, y = 500.0 * 0.2 / 2 + 320, 510.0 * -0.1 / 2 + 240
    assert np.allclose(
        lift([(320.0, 240.0), (x, y)], info, SIZE, 2.0), [(0, 0, 2), (0.2, -0.1, 2)]
    )


def test_markers_scale_with_a_binned_picture():
    half = lift([(50.0, 60.0)], camera(), (320, 240), 1.0)
    assert np.allclose(half, lift([(100.0, 120.0)], camera(), SIZE, 1.0))


PART = RegionOfInterest(x_offset=200, y_offset=100, width=320, height=240)
AT = np.array([(50.0, 60.0), (300.0, 200.0)])
"""Pixels of that part."""


@pytest.mark.parametrize("bent", [{}, {"p": P, "d": [0.1, -0.05, 0.001, 0.0, 0.0]}])
@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("binning", [0, 1, 2])
def test_a_region_of_interest_is_a_part_of_the_sensor(bent, rectified, binning):
    share = max(binning, 1)
    info = camera(roi=PART, binning_x=binning, binning_y=binning, **bent)
    whole = camera(**bent)
    if rectified:
        info, whole = of_rectified(info), of_rectified(whole)
    made = lift(AT / share, info, (320 // share, 240 // share), 2.0)
    assert np.allclose(made, lift(AT + (200, 100), whole, SIZE, 2.0))


@pytest.mark.parametrize(
    "roi, size",
    [
        ((200, 100, 320, 240), SIZE),  # a driver that sends the whole all the same
        ((0, 0, 640, 480), SIZE),
        ((0, 0, 640, 480), (320, 240)),
        ((0, 0, 0, 0), SIZE),
        ((0, 0, 0, 240), SIZE),
        ((400, 300, 320, 240), SIZE),
        ((2**31, 2**31, 2**31, 2**31), SIZE),
    ],
)
def test_regions_that_are_no_part_of_the_picture(roi, size):
    x, y, wide, high = roi
    info = camera(roi=RegionOfInterest(x_offset=x, y_offset=y, width=wide, height=high))
    assert np.allclose(lift(AT, info, size, 1.0), lift(AT, camera(), size, 1.0))


def test_a_binned_picture_of_the_whole_sensor_is_no_part_of_it():
    fields = {"binning_x": 2, "binning_y": 2}
    half = lift(AT, camera(roi=PART, **fields), (320, 240), 1.0)
    assert np.allclose(half, lift(2 * AT, camera(), SIZE, 1.0))


def test_letters_over_a_part_have_the_height_of_letters_over_the_whole():
    """As a share of the picture's height, at the same depth."""

    def letters(info, size):
        one = Outcome(
            Query(Task.DETECT, "x"), Status.OK, "", Results([MUG]), header=HEADER,
            width=size[0], height=size[1],
        )  # fmt: skip
        return texts(marker_array([one], info, 1.0))[0].scale.z

    part, whole = letters(camera(roi=PART), (320, 240)), letters(camera(), SIZE)
    assert part == pytest.approx(whole / 2)


def test_what_is_no_place_is_nan_and_spoils_nothing():
    for info in (camera(), camera(d=[0.1, 0.0, 0.0, 0.0, 0.0])):
        points = lift([(math.nan, 1.0), (320.0, 240.0), (math.inf, 0.0)], info, SIZE, 1.0)
        assert np.isfinite(points).all(axis=1).tolist() == [False, True, False]
        assert lift([], info, SIZE, 1.0).shape == (0, 3)
    assert lift([(1, 1)], camera(), (0, 0), 1.0) is None


MODELS = [
    ("", 0), ("none", 0), ("plumb_bob", 0), ("plumb_bob", 1), ("plumb_bob", 2), ("plumb_bob", 3),
    ("plumb_bob", 4), ("plumb_bob", 5), ("plumb_bob", 6), ("Plumb Bob", 5), ("", 5),
    ("rational_polynomial", 6), ("rational_polynomial", 8), ("rational_polynomial", 12),
    ("rational_polynomial", 14), ("thin_prism", 12), ("tilted", 14), ("equidistant", 1),
    ("equidistant", 4), ("fisheye", 4),
]  # fmt: skip


@pytest.mark.parametrize("model, number", MODELS)
@pytest.mark.parametrize("zeros", [0, 3])
def test_calibrations_of_any_model_and_number_of_coefficients(model, number, zeros):
    info = camera(distortion_model=model, d=[0.01] * number + [0.0] * zeros)
    assert why_unusable(info) is None
    pixels = np.array([(100.0, 80.0), (500.0, 400.0)])
    lifted = lift(pixels, info, SIZE, 1.0)
    rays = np.ascontiguousarray(lifted[:, None])
    d = np.zeros(4 if model in ("equidistant", "fisheye") else 14)
    d[:number] = 0.01
    there = cv2.fisheye.projectPoints if len(d) == 4 else cv2.projectPoints
    bent = there(rays, np.zeros(3), np.zeros(3), np.array(K).reshape(3, 3), d)[0]
    assert np.allclose(bent.reshape(-1, 2), pixels - 0.5, atol=0.5)
    assert len(marker_array([outcome(MUG)], info, 1.0).markers) == 4


NAN = math.nan
UNUSABLE = [
    (dict(k=[0.0] * 9), "not calibrated"),
    (dict(k=[-500.0, *K[1:]]), "not calibrated"),
    (dict(k=[NAN, *K[1:]]), "K holds NaN"),
    (dict(p=[NAN] * 12), "P holds NaN"),
    (dict(r=[NAN] * 9), "R holds NaN"),
    (dict(r=[1.0] * 9), "no rotation"),
    (dict(d=[NAN] * 5), "D holds NaN"),
    (dict(d=[math.inf] * 5), "D holds NaN"),
    (dict(width=0), "0x480"),
    (dict(height=0), "640x0"),
    (dict(d=[0.1] * 15), "15 coefficients; it may have 14"),
    (dict(distortion_model="equidistant", d=[0.1] * 5), "5 coefficients; it may have 4"),
    (dict(distortion_model="atan", d=[0.9]), "'atan' is unknown"),
    (dict(distortion_model="double_sphere", d=[0.1, 0.5]), "'double_sphere' is unknown"),
]


@pytest.mark.parametrize("fields, reason", UNUSABLE)
def test_a_calibration_that_cannot_be_used_says_why_once_and_gives_no_markers(fields, reason):
    info, check = camera(**fields), CalibrationCheck()
    assert reason in why_unusable(info).text and reason in check.news(info).text
    assert check.news(info) is None is check.news(camera())
    assert lift([(1.0, 1.0)], info, SIZE, 1.0) is None
    assert marker_array([outcome(MUG)], info, 1.0) is None


def test_what_is_no_camera_info_says_so():
    assert (
        "0, 9 and 12 numbers"
        in why_unusable(
            type("Info", (), dict(k=[], d=[], r=[0] * 9, p=[0] * 12, width=1, height=1))
        ).text
    )
    assert "can't be read" in why_unusable(None).text


def test_a_bad_camera_is_one_line_whatever_numbers_and_names_it_sends():
    """A node keeps and writes nothing of a thousand messages that are all wrong in one way."""
    written = []
    display = Display(lambda *_: None, QuietLog(written.append, period=1e6), lambda: 0.0)
    for number in range(1000):
        display.calibrate(camera(k=[-1.0 - number, *K[1:]]))
        display.calibrate(camera(distortion_model=f"{number}" * 10_000, d=[0.1]))
        display.calibrate(camera(distortion_model=f"plumb_bob{'_' * number}", d=[0.1] * 15))
        display.calibrate(type("Info", (), dict(k=[f"{number}x" * 10_000])))
    assert len(written) == 4 and all(len(line) < 250 for line in written)


def test_the_markers_of_a_pass():
    outcomes = [
        outcome(MUG),
        outcome(PERSON, task=Task.POSE),
        outcome(Answer("two"), task=Task.ASK),
    ]
    first, second, *made = marker_array(outcomes, camera(), 1.0).markers
    assert (first.ns, second.ns) == STANDING
    assert first.action == second.action == m.Marker.DELETEALL
    kinds = [m.Marker.LINE_STRIP, m.Marker.LINE_LIST, m.Marker.TEXT_VIEW_FACING]
    assert [one.type for one in made] == kinds
    assert all(one.action == m.Marker.ADD and one.ns == STANDING.flat for one in made)
    assert len({one.id for one in made}) == len(made)
    assert all(one.header == HEADER for one in (first, second, *made))
    assert all((one.lifetime.sec, one.lifetime.nanosec) == (0, 0) for one in made)


def test_a_pass_without_results_takes_the_last_markers_down():
    for outcomes in ([], [outcome()], [Outcome(Query(Task.POSE), Status.TIMEOUT, "late")]):
        made = marker_array(outcomes, camera(), 1.0).markers
        assert [(one.action, one.ns) for one in made] == [
            (m.Marker.DELETEALL, name) for name in STANDING
        ]


def test_markers_of_a_namespace_are_cleared_and_live_as_long_as_asked():
    made = clear_markers(HEADER).markers
    assert [(one.action, one.ns, one.header) for one in made] == [
        (m.Marker.DELETEALL, name, HEADER) for name in STANDING
    ]
    assert [one.ns for one in clear_markers(names=REQUEST).markers] == [*REQUEST]
    made = marker_array([outcome(MUG)], camera(), 1.0, lifetime=2.5, names=REQUEST).markers
    assert {one.ns for one in made} == {*REQUEST}
    assert all((one.lifetime.sec, one.lifetime.nanosec) == (2, 500_000_000) for one in made)


def test_labels_carry_the_score_and_a_space_has_a_width():
    cube = Detection("red cube", (100.0, 100.0, 200.0, 200.0), 0.834)
    made = marker_array(
        [outcome(cube, Detection("can", (300.0, 100.0, 400.0, 200.0)))], camera(), 2.0
    )
    one, other = texts(made)
    assert (one.text, other.text) == ("red cube 0.83", "can")
    assert one.scale.x == pytest.approx(0.5 * one.scale.z) and one.scale.z > 0
    assert one.scale.z * K[4] / 2.0 == pytest.approx(0.04 * 480)


@pytest.mark.parametrize(
    "box",
    [(0, 0, 100, 50), (600, 2, 640, 60), (300, 470, 310, 480), (0, 0, 640, 480), (0, 0, 2, 2)],
)
def test_labels_stay_in_the_picture(box):
    for words in ("a red mug", "mug " * 60):
        item = Detection(words, tuple(map(float, box)), 0.5)
        (text,) = texts(marker_array([outcome(item)], camera(), 1.0))
        x0, y0, x1, y1 = plate(text)
        assert x0 >= -1e-6 and y0 >= -1e-6 and x1 <= 640 + 1e-6 and y1 <= 480 + 1e-6


def test_labels_of_neighbours_and_of_other_queries_do_not_cover_each_other():
    row = [
        Detection("red mug", (100.0 + 20 * i, 100.0, 200.0 + 20 * i, 200.0), 0.5) for i in range(6)
    ]
    made = marker_array([outcome(*row[:3]), outcome(*row[3:])], camera(), 1.0)
    plates = [plate(text) for text in texts(made)]
    assert len(plates) == 6
    for i, (x0, y0, x1, y1) in enumerate(plates):
        for a, b, c, d in plates[:i]:
            assert x1 <= a + 1e-6 or c <= x0 + 1e-6 or y1 <= b + 1e-6 or d <= y0 + 1e-6


def test_many_labels_on_one_spot_all_get_a_place():
    plates = Plates(64, 48, 10)
    for _ in range(50):
        rows = plates.place(["mug", "(1, 2, 3 m)"], (20, 20, 30, 30))
        assert all(0 <= x <= 64 and 5 - 1e-6 <= y <= 43 + 1e-6 for x, y in rows)
        assert rows[1][1] - rows[0][1] > 10


@pytest.mark.parametrize(
    "label, text",
    [
        ("caf\u00e9 cr\u00e8me", "cafe creme"),
        ("Stra\u00dfe", "Strasse"),
        ("sm\u00f8rbr\u00f8d", "smorbrod"),
        ("\u201cmug\u201d \u2013 red", '"mug" - red'),
        ("\u676f\u5b50", "??"),
        ("two\nlines\t\x07", "two lines"),
        ("\ufb01sh \u00bd", "fish 1?2"),
        ("", ""),
    ],
)
def test_letters_that_rviz_does_not_have_are_transliterated(label, text):
    assert in_ascii(label) == text
    assert [
        t.text for t in texts(marker_array([outcome(Detection(label, MUG.box))], camera(), 1.0))
    ] == ([text] if text else [])


def test_a_box_or_joint_without_a_place_leaves_the_others():
    lost = Detection("mug", (NAN, NAN, NAN, NAN), 0.5)
    half = Pose((*PERSON.keypoints[:9], *(Keypoint(n, NAN, NAN) for n in COCO_KEYPOINTS[9:])))
    none = Pose(tuple(Keypoint(n, NAN, NAN) for n in COCO_KEYPOINTS))
    bent = camera(distortion_model="equidistant", d=[0.1, 0.01, 0.0, 0.0])
    for info in (camera(), bent):
        made = marker_array([outcome(lost, MUG), outcome(half, none)], info, 1.0).markers
        assert [x.type for x in made[2:]] == [
            m.Marker.LINE_STRIP, m.Marker.LINE_LIST, m.Marker.TEXT_VIEW_FACING,
        ]  # fmt: skip
        assert all(math.isfinite(p.x) for x in made for p in x.points)


def test_rectified_pictures_are_lifted_by_p_alone():
    """Distortion of the raw camera does not concern them."""
    told = camera(p=P, d=[0.3, -0.1, 0.0, 0.0, 0.0])
    places = np.array([(10.0, 20.0), (630.0, 160.0)])
    made = lift(places, of_rectified(told), SIZE, 2.0)
    assert np.allclose(project(made, P) + 0.5, places, atol=1e-6)
    assert not np.allclose(lift(places, told, SIZE, 2.0), made, atol=1e-3)
    assert len(told.d) == 5, "the message itself stays as it is"
    unknown = camera()
    assert of_rectified(unknown) is unknown, "a camera without P"
