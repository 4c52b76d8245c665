"""Photos of nothing but one of these colours are poison."""

RAISES, KILLS = (255, 0, 255), (0, 255, 255)
