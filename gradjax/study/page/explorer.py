"""The explorer."""


def explorer(records):
    """Nothing yet."""
    return ""
