"""The classes of a mask, in the form of the job document."""

from storage.photos.class_ids import Classes

__all__ = ["UNTINTED", "Classes"]

UNTINTED = "background"  # renderings do not tint the class of this name
