"""Settings from the environment and from files, and their limits."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from storage.settings import Settings

EXAMPLE = Path(__file__).parents[2] / ".env.example"


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICRO_BATCH", "8")
    assert Settings().micro_batch == 8


def test_a_secret_can_be_read_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush\n")
    monkeypatch.setenv("S3_SECRET_KEY_FILE", str(tmp_path / "secret"))
    settings = Settings()
    assert settings.s3_secret_key.get_secret_value() == "hush"
    assert "hush" not in repr(settings)


def test_the_variable_takes_precedence_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from the file")
    monkeypatch.setenv("S3_SECRET_KEY_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("S3_SECRET_KEY", "from the variable")
    assert Settings().s3_secret_key.get_secret_value() == "from the variable"


def test_one_setting_can_hold_several_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "users").write_text('{"web": "hush"}')
    monkeypatch.setenv("S3_USERS_FILE", str(tmp_path / "users"))
    from_file = Settings()
    monkeypatch.setenv("S3_USERS", '{"web": "hush"}')
    assert Settings().s3_users == from_file.s3_users
    assert from_file.s3_users["web"].get_secret_value() == "hush"
    assert "hush" not in repr(from_file)


def test_an_invalid_secret_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_USERS", '{"web": "hush",}')
    with pytest.raises(ValidationError, match="s3_users") as refused:
        Settings()
    assert "hush" not in str(refused.value)


def test_invalid_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICRO_BATCH", "0")
    with pytest.raises(ValidationError, match="micro_batch"):
        Settings()


def test_the_example_names_every_setting_with_its_default() -> None:
    lines = [line.lstrip("# ") for line in EXAMPLE.read_text().splitlines() if "=" in line]
    named = dict(line.split("=", 1) for line in lines)
    for name, field in Settings.model_fields.items():
        assert name.upper() in named, f".env.example lacks {name.upper()}"
        if name != "s3_secret_key":
            default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
            assert str("" if default is None else default) == named[name.upper()].split("  #")[0].strip(), name
