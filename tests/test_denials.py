"""Answers that say there is no such thing, in many wordings, and answers that only sound so."""

import pytest

from sphinx_ros.prompt.parse import denies

DENIALS = """
There is no mug in the image.
There isn't a mug in the image.
There isn’t a mug in the image.
There isnt a mug.
There's no mug here.
There are no mugs.
There are not any mugs in the picture.
There aren't any mugs
There is not a single mug.
There is nothing like that in the image.
There is no one in the image.
There is nobody here.
There's nobody.
No mug.
No.
no.
NO
No mugs found
No, there is no mug.
No, I can't see a mug.
No such object.
No unicorns in the image
No mug is visible in the image.
None
None.
none of the objects is a mug
Nothing.
Nothing found.
Nothing in the image matches.
I cannot find the mug.
I can not find the mug.
I can't find it.
I don't see any mug.
I do not see a mug
I dont see a mug
I didn't find any mugs.
I could not locate a mug in this image.
I couldn't find the red mug.
I am unable to find a mug.
I'm unable to detect any mugs
I'm not able to see a mug.
I see no mug.
I can see no mugs here.
Sorry, I can't see a mug.
I'm sorry, but there is no mug in the image.
I'm sorry, but I cannot find a mug
Unfortunately, there are no mugs in the picture.
Unable to find the mug.
Cannot find the mug.
Could not find any mug
The mug is not in the image.
The red mug isn't visible.
The red mug left of the can is not in the picture.
It is not in the image.
It's not in the image.
They are not visible.
The mug cannot be seen.
The mug can't be found in the image.
The mug could not be located.
The mug does not exist.
The mug doesn't appear in the image.
The mug is absent.
The mug is missing from the image.
not in the image
Not found.
Not visible
Not present in the image.
The image does not contain a mug.
The image doesn't contain any mugs.
This image doesn't contain a mug
The picture doesn't show a mug
The provided image does not contain any mugs.
The image contains no mugs.
The photo shows no mug.
It doesn't contain a mug.
The image does not appear to contain a mug.
In the image, there is no mug.
In this picture I don't see a mug.
It seems that there is no mug in the image.
It appears there are no mugs.
The image shows a wooden table. There is no mug visible.
The image shows a laptop, but there is no mug.
I looked, but I don't see a mug.
There does not appear to be a mug.
There doesn't seem to be any mug in the image.
There appears to be no mug.
There seems to be no mug in the image
I don't think there is a mug in the image.
You can't see a mug here.
**No mug found.**
"None"
zero mugs
0 mugs
Mugs: none
The answer is no.
No one is in the image.
Nobody is visible.
Nobody
no people
图中没有杯子。
抱歉，我没有找到杯子。
There was no mug.
No matching object was found.
No object matches the description.
I have not found a mug
The object you described is not present in the image.
The described object is not visible
None are visible.
Neither mug is red.
There are zero mugs.
The mug you are looking for is not in the image.
That is not in the image.
There is no text in the image.
No text.
There isn't any.
Not there
N/A
I was unable to find any mugs.
I was not able to find the mug
I do not detect any mug.
We couldn't find a mug.
It looks like there is no mug.
As far as I can see, there is no mug.
There are currently no mugs in view.
The scene contains no mug.
A mug is not present in this image.
A mug is not visible.
A mug could not be detected
Mug not found.
mug not visible
no mug
No red mug left of the can.
I can't see any.
Can't see it.
Don't see one.
Couldn't find it.
I could not find a mug in the picture you provided.
There's not a mug.
The mug was not found.
No mug was found.
No cups or mugs.
There is no mug on the table.
The image you provided does not contain a mug.
I am sorry, I do not see a mug in this picture.
There are 0 mugs.
The mug isn't here
The mug isn't shown in the image.
Sorry, no mug.
Sorry, I couldn't find any mug.
A mug is not in the picture.
Not in this picture.
Doesn't contain a mug.
The image doesn't have any mugs.
This picture has no mug
There are none.
There is none in the image.
It isn't there.
I can't identify a mug in this image.
I can't see one.
I can't see anything like that.
I do not see one in the image.
no mug, only a can
Mugs are not present.
None of these.
None found.
nothing detected
I'm afraid there is no mug.
The requested object is not found in the image.
There exists no mug.
No mug could be found.
Neither.
Unable to locate.
No, not in the image.
The image does not include a mug.
The image does not feature a mug.
There is not one.
I see none.
I can't spot it
there is no mug
THERE IS NO MUG.
The scene doesn't show any mugs.
It is absent from the image.
It's missing.
The mug does not appear to be in the image.
The mug does not seem to be present.
Such an object does not exist in the image.
There's no such thing in the picture.
There're no mugs
There is no mug visible here, only a laptop.
The image features a desk with a computer. I don't see any mugs.
I was not able to detect a mug
I have not been able to find a mug.
I haven't found it.
I can see no mug in the image.
I can't really see a mug.
We do not see a mug.
""".strip().splitlines()

OTHERS = """
a white mug
<p>mug</p>[0.1,0.2,0.3,0.4]
There is no mug [0.1,0.2,0.3,0.4]
There is no mug but a can <p>can</p>[0.1,0.2,0.3,0.4]
I cannot find it [0.1,0.2,0.3
a notebook
nose
North
Norway
Nonetheless, a mug.
the nothing machine is red
A mug with no handle.
the mug has no handle
A bench where there is no one sitting.
there is no one sitting
There is no one sitting on the bench.
There is no doubt that it is a mug.
There are not only mugs but cans.
There are no fewer than three mugs.
No parking sign
No. 5 bus
no. 7
no entry sign
A sign that says no smoking
A man who does not wear a hat
A mug whose handle is not visible.
The mug's handle is not visible.
The handle of the mug is not visible.
The mug doesn't contain coffee
knot
snow
Yes.
red
two
It is red.
I see a mug.
There is a mug in the image.
The mug is not red.
I can't see the image.
I cannot see images.
I cannot help with that.
I'm sorry, I can't assist with that request.
The mug is on the table.
I can see a mug, which is not far from the can.
no-parking sign
cannon
canoe
cannot
The cannons are visible
Sorry.
a piano
not far from the laptop
0
1
The mug is next to a notebook that is not open.
There is a mug and no can.
A white mug but no spoon
<p>
</p>
a man who is not visible to the camera
The face of the person is not visible.
The mug is not fully visible.
A mug, half of it not in the image
Not sure.
I'm not sure.
I do not know.
I don't know what that is.
I can't tell.
There is a no smoking sign.
There may be a mug.
The man has no hat.
The cup is not empty.
This is not a cup.
There is nothing wrong with the mug
Nothing but mugs
nothing special
The room has a table; nobody sits at it.
a nobody
None other than the mug
mug
the mug on the left
It is missing a handle.
A bus with the number 12 is here, no. 12
I cannot see the picture
I can't process images
There are no more than two mugs.
Not only the mug.
Not a problem.
No problem!
No idea.
the person in the image does not wear a hat
he is not wearing a hat
The dog does not show its teeth
the shop has no name
""".strip().splitlines()


@pytest.mark.parametrize("text", DENIALS)
def test_denials(text):
    assert denies(text) and denies(f" {text.upper()}\n")


@pytest.mark.parametrize("text", ["", " \n", "no", *OTHERS])
def test_other_answers_deny_nothing(text):
    assert not denies(text)


@pytest.mark.parametrize("text", DENIALS[:20])
def test_a_text_with_boxes_denies_nothing(text):
    assert not denies(f"{text} <p>can</p>[0.1,0.2,0.3,0.4]")
    assert not denies(f"[0.1,0.2,0.3 {text}")


def test_long_texts_take_little_time_and_deny_at_their_start():
    assert denies("There is no mug. " + "x" * 10**6)
    for part in ("no", "in the image", "sorry", "can not", "i", "but", "a: ", "\u56fe"):
        denies(f"{part} " * 100_000)
