"""The demonstration as it is launched, for launch_testing: answers come, and all end cleanly.

tests/test_launch_testing.py runs it where launch is installed; by hand:
    launch_test tests/launch/demo_launch_testing.py
"""

import unittest
from pathlib import Path

import launch
import launch_testing.actions
import launch_testing.asserts
import rclpy
from launch.launch_description_sources import PythonLaunchDescriptionSource

DEMO = Path(__file__).resolve().parents[2] / "launch" / "demo.launch.py"
SECONDS = 300.0  # until a model has loaded and a picture has come


def generate_test_description():
    """The demonstration on the recorded clip, which needs no OpenGL."""
    source = PythonLaunchDescriptionSource(str(DEMO))
    demo = launch.actions.IncludeLaunchDescription(
        source, launch_arguments=[("source", "clip"), ("queries", "['detect: objects']")]
    )
    return launch.LaunchDescription([demo, launch_testing.actions.ReadyToTest()])


class WhileItRuns(unittest.TestCase):
    """What a client sees."""

    @classmethod
    def setUpClass(cls):
        rclpy.init()
        cls.node = rclpy.create_node("launch_testing_client")

    @classmethod
    def tearDownClass(cls):
        cls.node.destroy_node()
        rclpy.shutdown()

    def spin_until(self, done):
        end = self.node.get_clock().now().nanoseconds + int(1e9 * SECONDS)
        while not done() and self.node.get_clock().now().nanoseconds < end:
            rclpy.spin_once(self.node, timeout_sec=0.1)
        return done()

    def test_standing_queries_are_answered(self):
        from sphinx_ros.msg import DetectionArray

        heard = []
        self.node.create_subscription(DetectionArray, "/sphinx/detections", heard.append, 10)
        self.assertTrue(self.spin_until(lambda: any(one.detections for one in heard)))
        self.assertEqual(heard[-1].header.frame_id, "camera_optical_frame")

    def test_a_request_is_answered(self):
        from sphinx_ros.srv import Ask

        client = self.node.create_client(Ask, "/sphinx/ask")
        self.assertTrue(client.wait_for_service(SECONDS))
        answers = []

        def answered():
            future = client.call_async(Ask.Request(question="How many objects are there?"))
            rclpy.spin_until_future_complete(self.node, future, timeout_sec=SECONDS)
            answers.append(future.result().result)
            return answers[-1].status.code == 0

        self.assertTrue(self.spin_until(answered), answers[-1])
        self.assertTrue(answers[-1].text)


@launch_testing.post_shutdown_test()
class WhenItHasEnded(unittest.TestCase):
    """What is left."""

    def test_all_processes_ended_cleanly(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)
