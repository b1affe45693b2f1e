"""No error, record or log line shows what gives access to a store."""

from __future__ import annotations

import logging
import pickle

import pytest

from fiftyone_plugin.cli.label import AboveBars
from fiftyone_plugin.common.console import say
from fiftyone_plugin.errors import (
    ImageReadError,
    MissingDependencyError,
    PseudoMaskError,
    UsageError,
    without_secrets,
)

SECRET = "hunter2"
ADDRESSES = [
    (f"https://host/a/b.jpg?X-Amz-Signature={SECRET}&x=1", "https://host/a/b.jpg?..."),
    (f"https://host/b.jpg?sv=2020&sig={SECRET}#top", "https://host/b.jpg?..."),
    (f"https://me:{SECRET}@host:8080/b.jpg", "https://host:8080/b.jpg"),
    (f"https://{SECRET}@host/b.jpg", "https://host/b.jpg"),
    (f"sftp://me:{SECRET}@host/b.jpg", "sftp://host/b.jpg"),
    (f"S3://key:{SECRET}@bucket/b.jpg", "S3://bucket/b.jpg"),
    (f"a token={SECRET}, password={SECRET} and AWS_SECRET_ACCESS_KEY={SECRET}", None),
    (f"https://host/with blank.jpg?X-Amz-Security-Token={SECRET}&X-Goog-Signature={SECRET}", None),
    (f"http://host/b.jpg?sig={SECRET}: no such file", "http://host/b.jpg?...: no such file"),
    (f"url='https://host/b.jpg?token={SECRET}'", "url='https://host/b.jpg?...'"),
]
HARMLESS = [
    "s3://bucket/a b/ü.jpg",
    "abfs://container@account.dfs.core.windows.net/a.jpg",
    "s3://bucket/a.jpg?versionId=abc.DEF_1-2",
    "/disk/a=b.jpg?x",
    "classes=3, seed=1, token_layers=('out',), tokens=5",
    "no such file: 'a.jpg'",
    "",
]


@pytest.mark.parametrize(("text", "shown"), ADDRESSES)
def test_secrets_go_and_the_place_stays(text, shown):
    cleaned = without_secrets(text)
    assert SECRET not in cleaned
    assert shown is None or cleaned == shown
    assert without_secrets(cleaned) == cleaned


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays_as_it_is(text):
    assert without_secrets(text) == text


@pytest.mark.parametrize("kind", [PseudoMaskError, UsageError, MissingDependencyError])
@pytest.mark.parametrize(("text", "shown"), ADDRESSES)
def test_no_error_shows_one(kind, text, shown, capsys):
    error = kind(f"cannot open {text}: no")
    image = ImageReadError(text, f"failed at {text}")
    for each in (error, image, pickle.loads(pickle.dumps(image)), pickle.loads(pickle.dumps(error))):
        assert SECRET not in f"{each} {each!r} {each.args} {vars(each)}"
    say(text)
    AboveBars().emit(logging.makeLogRecord({"msg": "%s", "args": (text,)}))
    printed = capsys.readouterr()
    assert SECRET not in printed.out + printed.err
