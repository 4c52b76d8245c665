"""The colours of poisonous photos: a photo of only one of them causes a fault."""

RAISES, KILLS, KILLS_DECODER = (255, 0, 255), (0, 255, 255), (255, 255, 0)
