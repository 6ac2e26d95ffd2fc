"""The words of the questions. The question comes last, so that servers can share what stands before it.

Every candidate is asked about twice, once so that yes speaks for it and once so that no does; half the
difference of the log-odds cancels a model's liking for either word.
"""

# Raise it with any change of the words below or of the views: replies are kept by it.
PROMPT_VERSION = 1

INTRODUCTION = (
    "These {n_images} images are frames of one video, in order of time. Some objects are outlined, and each "
    "carries the same number in every image it is seen in.\n"
    "A description of one or more objects of the video: “{text}”\n"
)
SINGLE = (
    "This image is a frame of a video. Some objects are outlined and numbered.\n"
    "A description of one or more objects of the video: “{text}”\n"
)
FOR = "Is object {number} one that the description refers to? Answer with yes or no only."
AGAINST = "Is object {number} one that the description does not refer to? Answer with yes or no only."


def ask(text: str, number: int, n_images: int) -> tuple[str, str]:
    """The two questions about one candidate: yes speaks for it, yes speaks against it.

    Args:
        text: the expression.
        number: what the candidate carries in the images.
        n_images: pictures before the question.
    """
    opening = (INTRODUCTION if n_images > 1 else SINGLE).format(n_images=n_images, text=text)
    return opening + FOR.format(number=number), opening + AGAINST.format(number=number)


# Of candidates that are shown as blocks (stages/evidence/views/compose.py). The description stands at the very end, and
# every word begins with a blank: questions about one candidate differ in the description alone.
FOR_BLOCK = " is object {number} what these words describe, yes or no: {text}"
AGAINST_BLOCK = " is object {number} something that these words do not describe, yes or no: {text}"
# A description that says nothing: what a model answers to it is its liking for a word or for a candidate.
CONTENT_FREE = "something"


def ask_of_block(text: str, number: int) -> tuple[str, str]:
    """The two questions about a candidate whose block stands right before them: yes speaks for it, yes speaks against it.

    Args:
        text: the expression, or `CONTENT_FREE`.
        number: what the candidate is called in its block.
    """
    return FOR_BLOCK.format(number=number, text=text), AGAINST_BLOCK.format(number=number, text=text)
