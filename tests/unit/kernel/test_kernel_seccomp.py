"""The filter of system calls, run by an interpreter of the five instructions that it is made of."""

from __future__ import annotations

import errno
import struct

import pytest

from netlab.kernel.seccomp import ALLOW, DENIED, FAIL, program

REFUSED, MISSING = FAIL | errno.EPERM, FAIL | errno.ENOSYS
X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
TESTS = {EQUAL: lambda a, k: a == k, AT_LEAST: lambda a, k: a >= k, ANY_BIT: lambda a, k: a & k != 0}


def result(code: bytes, architecture: int, number: int, argument: int = 0) -> int:
    """Return what the kernel would do with a system call (struct seccomp_data)."""
    data = struct.pack("<iIQ6Q", number, architecture, 0, argument, *[0] * 5)
    lines = list(struct.iter_unpack("=HBBI", code))
    at = held = 0
    while True:
        operation, yes, no, value = lines[at]
        at += 1
        if operation == RETURN:
            return value
        if operation == LOAD:
            held = struct.unpack_from("<I", data, value)[0]
        else:
            at += yes if TESTS[operation](held, value) else no


MACHINES = [("x86_64", X86_64, 0), ("aarch64", AARCH64, 1)]
READ_WRITE = {"x86_64": (0, 1, 59, 231), "aarch64": (63, 64, 221, 94)}  # read, write, execve, exit_group
CLONE = {"x86_64": 56, "aarch64": 220}


@pytest.mark.parametrize(("machine", "architecture", "column"), MACHINES)
def test_what_is_denied_and_what_is_not(machine, architecture, column):
    """Each call of the list fails with EPERM, what every program needs is allowed."""
    code = program(machine)

    assert {REFUSED} == {result(code, architecture, row[column]) for row in DENIED.values() if row[column] is not None}
    assert {ALLOW} == {result(code, architecture, number) for number in READ_WRITE[machine]}


@pytest.mark.parametrize(("machine", "architecture", "column"), MACHINES)
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        pytest.param(0x01200011, ALLOW, id="fork"),
        pytest.param(0x003D0F00, ALLOW, id="thread"),
        pytest.param(0x10000011, REFUSED, id="user namespace"),
        pytest.param(0x40000011, REFUSED, id="network namespace"),
        pytest.param(0x00020011, REFUSED, id="mount namespace"),
        pytest.param(0x02000011, REFUSED, id="cgroup namespace"),
    ],
)
def test_clone_makes_processes_and_no_namespaces(machine, architecture, column, flags, expected):
    """The flags of `clone` are looked at; `clone3`, whose flags are out of reach, is as if it were not there."""
    del column
    code = program(machine)

    assert (expected, MISSING) == (result(code, architecture, CLONE[machine], flags), result(code, architecture, 435))


@pytest.mark.parametrize(
    ("machine", "architecture", "number"),
    [
        pytest.param("x86_64", I386, 3, id="a 32-bit program's read"),
        pytest.param("x86_64", X86_64, 0x40000000, id="x32"),
        pytest.param("aarch64", X86_64, 63, id="another machine's"),
    ],
)
def test_calls_of_another_architecture_are_refused(machine, architecture, number):
    """The same number is another call there."""
    assert REFUSED == result(program(machine), architecture, number)


def test_a_process_that_enters_namespaces_may():
    """What a process keeps SYS_ADMIN for is left to it, and nothing else."""
    code = program("x86_64", ("setns",))

    assert (ALLOW, REFUSED) == (result(code, X86_64, DENIED["setns"][0]), result(code, X86_64, DENIED["unshare"][0]))


def test_an_unknown_machine_has_no_filter():
    """Numbers of another machine would refuse the wrong calls."""
    assert b"" == program("riscv64")
