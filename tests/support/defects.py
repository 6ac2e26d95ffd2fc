"""What readers say is wrong with a video's expressions."""

from stages.core.records import Video


def wrong_expressions(video: Video) -> str:
    """The defects of single expressions, of a video that is sound itself."""
    assert video.defect == ""
    return "; ".join(expression.defect for expression in video.expressions if expression.defect)
