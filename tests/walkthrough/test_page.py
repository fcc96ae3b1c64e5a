"""The reading of the page, and what counts as printed."""

import page
import pytest

TEXT = """
<!-- journey: first -->
<!-- run: greet -->
```sh
echo hello
```

<!-- prints -->
```text
hello
```

<!-- shown: it would take a day -->
```sh
sleep 86400
```

<!-- journey: second -->
<!-- repeat: greet -->
<!-- run: leave -->
```sh
echo bye
```
"""


def test_blocks_are_run_in_the_order_of_their_journey():
    read = page.read(TEXT)
    assert {name: [block.about for block in blocks] for name, blocks in read.journeys.items()} == {
        "first": ["greet"], "second": ["greet", "leave"]}
    assert [(block.kind, block.language) for block in read.blocks] == [
        ("run", "sh"), ("prints", "text"), ("shown", "sh"), ("run", "sh")]
    assert read.journeys["first"][0].prints == "hello\n" and read.journeys["second"][1].prints is None


def test_a_block_without_a_mark_is_noticed():
    assert [block.kind for block in page.read(TEXT.replace("<!-- run: leave -->\n", "")).blocks][-1] == ""


@pytest.mark.parametrize("text", [
    TEXT.replace("run: leave", "run: greet"),  # a name for two
    TEXT.replace("<!-- run: leave -->\n", "<!-- run: leave -->\n<!-- shown: no -->\n"),  # two marks for one
    TEXT.replace("<!-- run: leave -->\n", "<!-- run: leave -->\nWords.\n"),  # a mark for nothing
])
def test_marks_that_are_not_clear_are_refused(text):
    with pytest.raises(ValueError):
        page.read(text)


def test_a_repeated_block_must_be_there():
    with pytest.raises(KeyError):
        page.read(TEXT.replace("repeat: greet", "repeat: nothing"))


@pytest.mark.parametrize("expected, printed", [
    ("hello\n", "hello\n"), ("hello\n", "\nhello\n"), ("key: …, name\n", "key: 17, name\n"), ("a\n…\nb\n", "a\nb\n"),
    ("a\n…\nb\n", "a\n1\n2\nb\n"), ("…\nb\n", "1\n2\nb\n"), ("a…\n", "a(\n"), ("", "")])
def test_what_is_printed_is_as_expected(expected, printed):
    assert page.matches(expected, printed)


@pytest.mark.parametrize("expected, printed", [
    ("hello\n", "hello you\n"), ("hello\n", "hello\nyou\n"), ("hello\nyou\n", "hello\n"), ("key: …, name\n", "key: , name\n"),
    ("key: …\n", "key: 1\n2\n"), ("a\n…\nb\n", "a\n1\n"), ("a.c\n", "abc\n"), ("", "hello\n"), ("hello\n", "")])
def test_what_is_printed_is_something_else(expected, printed):
    assert not page.matches(expected, printed)
