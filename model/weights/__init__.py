"""The weights that come with the project: README.md beside them tells what they are."""

from pathlib import Path

PARTRM = Path(__file__).with_name("partrm.safetensors")
PARTS = Path(__file__).with_name("parts.safetensors")
