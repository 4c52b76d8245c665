"""The colour of lethal photos: a photo of only this colour kills the process."""

LETHAL = (0, 255, 255)
