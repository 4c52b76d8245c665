"""ICC profiles: the network and every rendering get the colours that a browser shows."""

import subprocess
import sys

import numpy as np
import pictures
import profiles
import pytest
import services
from PIL import Image, ImageCms

from storage.photos.colour import to_srgb
from storage.photos.containers import MOST_PROFILE
from storage.photos.photo import decode
from storage.settings import Settings

SETTINGS = Settings()
COLORS = [(220, 40, 30), (30, 160, 60), (240, 140, 20)]
KINDS = {"JPEG": {"quality": 98, "subsampling": 0}, "PNG": {}, "WEBP": {"lossless": True}}


def stripes() -> Image.Image:
    """Saturated colours within sRGB, each 100 pixels wide."""
    image = Image.new("RGB", (300, 300))
    for place, color in enumerate(COLORS):
        image.paste(color, (100 * place, 0, 100 * place + 100, 300))
    return image


def shown(content: bytes, at_least: int | None = None) -> np.ndarray:
    _, photo = decode(content, SETTINGS, at_least)
    assert photo.mode == "RGB"
    step = photo.width // 3
    return np.array([photo.getpixel((step // 2 + step * place, step)) for place in range(3)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("profile", [profiles.display_p3(), profiles.adobe_rgb()], ids=["Display P3", "Adobe RGB"])
def test_a_wide_gamut_photo_becomes_srgb(kind: str, profile: bytes) -> None:
    stored = profiles.converted(stripes(), profile)
    assert np.abs(np.array([stored.getpixel((50 + 100 * place, 50)) for place in range(3)]) - COLORS).max() > 15
    content = pictures.encoded(stored, kind, icc_profile=profile, **KINDS[kind])
    assert np.abs(shown(content) - COLORS).max() <= 4


def test_a_scaled_jpeg_is_converted_too() -> None:
    profile = profiles.display_p3()
    content = pictures.encoded(profiles.converted(stripes(), profile), icc_profile=profile, quality=98)
    assert np.abs(shown(content, at_least=64) - COLORS).max() <= 5


def test_a_transparent_photo_is_converted_below_its_alpha() -> None:
    profile = profiles.display_p3()
    stored = profiles.converted(stripes(), profile).convert("RGBA")
    stored.paste((0, 0, 0, 0), (200, 0, 300, 300))
    found = shown(pictures.encoded(stored, "PNG", icc_profile=profile))
    assert np.abs(found - [*COLORS[:2], (255, 255, 255)]).max() <= 4


def test_a_palette_is_converted() -> None:
    profile = profiles.display_p3()
    stored = profiles.converted(stripes(), profile).quantize(3)
    assert np.abs(shown(pictures.encoded(stored, "PNG", icc_profile=profile)) - COLORS).max() <= 4


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_a_grey_profile(mode: str) -> None:
    stored = Image.new("L", (300, 300), 128) if mode != "I;16" else Image.new(mode, (300, 300), 128 * 257)
    content = pictures.encoded(stored.convert("LA") if mode == "LA" else stored, "PNG", icc_profile=profiles.grey(1.0))
    assert np.abs(shown(content) - 188).max() <= 1  # half of the light


def test_a_cmyk_profile() -> None:
    """The profile has grey paper and weak inks; without it the result is white and full colours."""
    stored = Image.new("CMYK", (300, 300))
    stored.paste((255, 0, 0, 0), (100, 0, 200, 300))
    content = pictures.encoded(stored, quality=98, icc_profile=profiles.cmyk())
    expected = ImageCms.profileToProfile(
        stored, profiles.opened(profiles.cmyk()), ImageCms.createProfile("sRGB"), 1, "RGB", flags=0x2000
    )
    assert np.abs(shown(content) - [expected.getpixel((50 + 100 * n, 50)) for n in range(3)]).max() <= 4
    assert shown(content)[1].max() > 90  # no full cyan


@pytest.mark.parametrize(
    "profile",
    [*(made for _, made in profiles.hostile()), b"icc" * 30_000, b"\0", profiles.grey(1.0), profiles.cmyk()],
    ids=[*(name for name, _ in profiles.hostile()), "text", "one byte", "of grey pixels", "of CMYK pixels"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_profile_that_cannot_be_used_changes_nothing(profile: bytes, kind: str) -> None:
    content = pictures.encoded(stripes(), kind, icc_profile=profile, **KINDS[kind])
    assert np.abs(shown(content) - COLORS).max() <= 3


@pytest.mark.parametrize("change", ["swapped", "doubled", "missing"])
def test_only_a_complete_profile_is_applied(change: str) -> None:
    profile = profiles.with_tags({b"zzzz": bytes(100_000)} | {b"rXYZ": profiles.xyz((0.1, 0.2, 0.7))})
    content = pictures.encoded(stripes(), quality=98, subsampling=0, icc_profile=profile)
    first = content.index(b"\xff\xe2")
    second = content.index(b"\xff\xe2", first + 60_000)
    end = second + 2 + int.from_bytes(content[second + 2 : second + 4], "big")
    one, two = content[first:second], content[second:end]
    parts = {"swapped": two + one, "doubled": one + two + one, "missing": one}[change]
    found = shown(content[:first] + parts + content[end:])
    assert (np.abs(found - COLORS).max() > 15) == (change == "swapped")


def test_a_profile_that_is_a_decompression_bomb_is_ignored() -> None:
    content = pictures.encoded(stripes(), "PNG", icc_profile=profiles.display_p3() + bytes(4 * MOST_PROFILE))
    assert np.abs(shown(content) - COLORS).max() == 0


def test_an_srgb_profile_by_any_name_is_not_converted() -> None:
    """There is no transform, so no pass over the pixels, and the stored pixels are unchanged."""
    assert to_srgb(profiles.srgb(), "RGB") is None
    renamed = profiles.with_tags({b"dmnd": b"text" + bytes(4) + b"HP\0"})
    assert to_srgb(renamed, "RGB") is None
    content = pictures.encoded(pictures.photo(), "PNG", icc_profile=renamed)
    assert decode(content, SETTINGS)[1].tobytes() == pictures.photo().tobytes()


def test_a_transform_is_built_once_for_all_photos_of_a_camera() -> None:
    profile = profiles.with_tags({b"rXYZ": profiles.xyz((0.5, 0.25, 0.0))})
    before = to_srgb.cache_info().misses
    for seed in range(3):
        decode(pictures.encoded(pictures.photo(seed=seed), icc_profile=profile), SETTINGS)
    assert to_srgb.cache_info().misses == before + 1


def test_photos_without_a_profile_load_no_colour_library() -> None:
    code = (
        "import io, sys; from PIL import Image; from storage.photos.photo import decode;"
        "from storage.settings import Settings; b = io.BytesIO(); Image.new('RGB', (9, 9)).save(b, 'JPEG');"
        "decode(b.getvalue(), Settings()); assert 'PIL.ImageCms' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=services.ROOT, check=True)
