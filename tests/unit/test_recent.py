"""A set of bounded size."""

from __future__ import annotations

from netlab.recent import Recent


def test_recent_forgets_what_was_asked_for_least_recently() -> None:
    """Asking for a member keeps it."""
    recent: Recent[str] = Recent(3)
    for member in ("a", "b", "c"):
        recent.add(member)
    asked = "a" in recent
    recent.add("d")

    assert (True, [True, False, True, True], 3) == (asked, [m in recent for m in "abcd"], len(recent))


def test_recent_holds_a_member_once() -> None:
    """Adding it again makes it the most recent one."""
    recent: Recent[str] = Recent(2)
    for member in "aabab" + "ca":
        recent.add(member)

    assert (True, False, True) == ("a" in recent, "b" in recent, "c" in recent)
