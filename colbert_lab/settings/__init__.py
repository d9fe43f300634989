"""The config's schema: names and types, checked when a config is composed."""

from colbert_lab.settings.whole import Settings, checked

__all__ = ["Settings", "checked"]
