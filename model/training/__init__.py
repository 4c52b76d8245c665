"""Training: a recipe and a folder of photos with masks in, a network's weights out."""
