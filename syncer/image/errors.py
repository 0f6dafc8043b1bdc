"""The one error of this package."""


class ImageError(Exception):
    """An image that cannot be built; one line that says why."""
