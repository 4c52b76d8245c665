"""Photos of nothing but one of these colours are poison."""

RAISES, KILLS, KILLS_DECODER = (255, 0, 255), (0, 255, 255), (255, 255, 0)
