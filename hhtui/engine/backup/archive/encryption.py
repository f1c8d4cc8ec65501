"""Archives encrypted by age or GnuPG, whichever the key is for; nothing of our own making."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.text import sanitise

SUFFIXES = (".age", ".gpg")
_AGE_KEYS = ("age1", "ssh-")
_WRONG_KEY = " (the passphrase is wrong, or the key is not here)"
_DAMAGED = " (the file is damaged, cut short, or not encrypted)"
# age has neither codes nor translations: its sentences in 1.0 to 1.2 (cmd/age, age.go, internal/stream).
_AGE_SENTENCES = (
    ("no identity matched", _WRONG_KEY),
    ("incorrect passphrase", _WRONG_KEY),
    ("payload chunk", _DAMAGED),
    ("age header", _DAMAGED),
    ("unexpected EOF", _DAMAGED),
)


class EncryptionError(HomeHelperError):
    """The archive could not be encrypted or decrypted; says why in one line."""

    slug = "encryption"


def suffix_for(passphrase: str | None, recipient: str | None) -> str:
    """``.age``, ``.gpg`` or "": what the archive's name ends in; InvalidInputError if the program is not there."""
    if recipient is not None and recipient.startswith("-"):
        raise InvalidInputError("the recipient is an age key (age1…, ssh-…) or names a key of GnuPG's")
    if recipient is not None and recipient.startswith(_AGE_KEYS):
        _program("age")
        return ".age"
    if recipient is not None or passphrase is not None:
        _program("gpg")
        return ".gpg"
    return ""


def is_encrypted(path: Path) -> bool:
    """Whether the name says so."""
    return path.suffix in SUFFIXES


def encrypt(plain: Path, target: Path, passphrase: str | None, recipient: str | None) -> None:
    """``plain`` encrypted into ``target``, which is replaced."""
    target.unlink(missing_ok=True)
    if suffix_for(passphrase, recipient) == ".age":
        assert recipient is not None
        _run([_program("age"), "--encrypt", "--recipient", recipient, "--output", str(target), str(plain)], None)
    else:
        words = [_program("gpg"), "--batch", "--yes", "--quiet", "--no-tty", "--output", str(target)]
        # What is packed already would only be packed in vain.
        words += ["--compress-algo", "none"]
        if recipient is not None:
            # A key that is not here is an error, not a search of the network.
            words += [
                "--trust-model",
                "always",
                "--no-auto-key-locate",
                "--recipient",
                recipient,
                "--encrypt",
                str(plain),
            ]
        else:
            words += ["--pinentry-mode", "loopback", "--passphrase-fd", "0", "--cipher-algo", "AES256"]
            words += ["--symmetric", str(plain)]
        _run(words, passphrase)
    target.chmod(0o600)


def decrypt(path: Path, target: Path, passphrase: str | None, identity: str | None) -> None:
    """The archive inside ``path`` written to ``target``; EncryptionError if the key does not fit."""
    if path.suffix == ".age":
        if identity is None:
            raise InvalidInputError(f"{path}: is encrypted with age: name the key file with --identity")
        _run([_program("age"), "--decrypt", "--identity", identity, "--output", str(target), str(path)], None)
    else:
        words = [_program("gpg"), "--batch", "--yes", "--quiet", "--no-tty", "--output", str(target)]
        if passphrase is not None:
            words += ["--pinentry-mode", "loopback", "--passphrase-fd", "0"]
        # GnuPG's sentences come in the user's language, its status lines are for programs.
        _run([*words, "--status-fd", "1", "--decrypt", str(path)], passphrase)
    target.chmod(0o600)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        package = {"gpg": "gnupg"}.get(name, name)
        raise InvalidInputError(f"{name} is not installed: sudo apt install {package}")
    return found


def _run(words: list[str], passphrase: str | None) -> None:
    mask = os.umask(0o077)
    try:
        done = subprocess.run(
            words,
            input=(passphrase or "").encode() + b"\n" if passphrase is not None else b"",
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise EncryptionError(f"{Path(words[0]).name} cannot be started: {error.strerror}") from None
    finally:
        os.umask(mask)
    if done.returncode:
        program = Path(words[0]).name
        reason = _reason(done.stderr.decode("utf-8", "replace")) or f"exit code {done.returncode}"
        raise EncryptionError(f"{program}: {reason}{_hint(program, reason, done.stdout)}")


def _reason(stderr: str) -> str:
    """The line that says why: age's first error (an invitation to report it follows), GnuPG's last."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    reasons = [line.partition("error: ")[2] for line in lines if line.startswith("age: error: ")] or lines[-1:]
    return sanitise(re.sub(r"^(gpg: )?(/\S+: )?", "", reasons[0]), 1000) if reasons else ""


def _hint(program: str, reason: str, status: bytes) -> str:
    """What a failed decryption means; "" where it is neither the key nor the file (a full disk)."""
    if program == "age":
        return next((hint for sentence, hint in _AGE_SENTENCES if sentence in reason), "")
    # doc/DETAILS in GnuPG's source: "[GNUPG:] KEYWORD arguments".
    lines = [line.split() for line in status.decode("utf-8", "replace").splitlines()]
    keywords = {words[1] for words in lines if words[:1] == ["[GNUPG:]"] and len(words) > 1}
    if "DECRYPTION_OKAY" in keywords:
        return ""
    if keywords & {"NODATA", "BADMDC", "PLAINTEXT"}:
        return _DAMAGED
    return _WRONG_KEY if "DECRYPTION_FAILED" in keywords else ""
