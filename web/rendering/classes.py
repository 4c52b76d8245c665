"""The class that renderings treat differently."""

UNTINTED = "background"  # renderings do not tint the class of this name
