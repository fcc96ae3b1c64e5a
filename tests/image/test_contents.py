"""What is in the image, and what is not."""

import datetime
import os
import pathlib
import re
import subprocess

from daemon import ROOT
from elf import (DF_1_PIE, DF_BIND_NOW, DT_FLAGS, DT_FLAGS_1, DT_NEEDED, ET_DYN, PT_GNU_RELRO, PT_GNU_STACK, PT_INTERP,
                 Elf)
from image import Image

MOST = 15 * 1024 * 1024
PROGRAM, CERTIFICATES = "usr/local/bin/credlet", "etc/ssl/certs/ca-certificates.crt"


def version():
    return re.search(r"project\(credlet VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text())[1]


def test_it_is_small(image):
    assert image.path.stat().st_size <= MOST
    assert sum(len(layer) for layer in image.layers()) <= MOST


def test_it_says_what_it_is_and_how_it_runs(image):
    config = image.config["config"]
    assert config["Entrypoint"] == ["/usr/local/bin/credlet"] and "Cmd" not in config
    assert config["User"] == "65532:65532"
    labels = {name: value for name, value in config["Labels"].items() if name.startswith("org.opencontainers.image.")}
    assert labels["org.opencontainers.image.version"] == version()
    assert labels["org.opencontainers.image.title"] == "credlet"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_the_version_that_the_dockerfile_says_is_the_program_s():
    assert f"ARG VERSION={version()}\n" in (ROOT / "Dockerfile").read_text()


def test_there_is_nothing_but_the_program_and_the_certificates(image):
    members = image.members()
    files = {path for path, (member, _) in members.items() if not member.isdir()}
    assert files == {PROGRAM, CERTIFICATES}
    folders = {path for path, (member, _) in members.items() if member.isdir() and path}
    assert folders == {str(parent) for file in files for parent in pathlib.PurePath(file).parents if parent.name}
    for path, (member, _) in members.items():
        assert (member.uid, member.gid) == (0, 0), path
        assert member.mode & 0o7777 == (0o644 if path == CERTIFICATES else 0o755), path


def test_the_certificates_are_debian_s(image):
    assert image.members()[CERTIFICATES][1] == pathlib.Path("/etc/ssl/certs/ca-certificates.crt").read_bytes()


def test_the_program_needs_nothing_and_is_hardened(image):
    program = Elf(image.members()[PROGRAM][1])
    assert PT_INTERP not in program.segments and not program.entries(DT_NEEDED)
    assert program.type == ET_DYN and any(flags & DF_1_PIE for flags in program.entries(DT_FLAGS_1))
    assert any(flags & DF_BIND_NOW for flags in program.entries(DT_FLAGS)) and PT_GNU_RELRO in program.segments
    assert program.segments[PT_GNU_STACK][0] & 1 == 0  # not executable
    assert not [name for name in program.sections if name == ".symtab" or name.startswith(".debug")]


def test_the_same_sources_make_the_same_image(image, tmp_path):
    made = datetime.datetime.fromisoformat(image.config["created"].replace("Z", "+00:00"))
    again = tmp_path / "again.tar"
    subprocess.run([ROOT / ".ci" / "image.sh", again], check=True, timeout=600,
                   env={**os.environ, "SOURCE_DATE_EPOCH": str(int(made.timestamp()))})
    second = Image(again)
    assert second.manifest["layers"] == image.manifest["layers"]
    assert said(second) == said(image)


def said(image):
    """All but the revision, which a commit during the test may change."""
    config = {**image.config, "config": {**image.config["config"], "Labels": dict(image.config["config"]["Labels"])}}
    del config["config"]["Labels"]["org.opencontainers.image.revision"]
    return {name: value for name, value in config.items() if name != "history"}
