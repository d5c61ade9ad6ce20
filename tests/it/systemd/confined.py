"""Runs a program as systemd would under the limits of a unit: confined.py UNIT PROGRAM [ARG...]

What can be had without being the first process: the system call filter with its groups as
systemd-analyze lists them, no new privileges, the address families, no memory that is writable and
executable, no namespaces, the limits, and another user than root. Any call beyond them kills the
program, where systemd would let some of them fail: nothing goes unnoticed.
"""
import ctypes, errno, os, resource, subprocess, sys

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EQUAL, MASKED_EQUAL = 4, 7
NO_NEW_PRIVS, NOBODY = 38, 65534
WRITE, EXEC = 2, 4
NAMESPACES = 0x7E020080  # CLONE_NEW*
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}


class Compare(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("operator", ctypes.c_int),
                ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def settings(unit):
    """Every line of the unit, by its name."""
    found = {}
    for line in open(unit):
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def groups():
    said = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager"],
                          check=True, capture_output=True, text=True).stdout
    found, name = {}, None
    for line in said.splitlines():
        if line.startswith("@"):
            name = line.strip()
            found[name] = []
        elif line.startswith("    ") and name and not line.strip().startswith("#"):
            found[name].append(line.strip())
        elif not line.strip().startswith("#") and line.strip():
            name = None
    return found


def calls(name, known):
    if not name.startswith("@"):
        return {name}
    return set().union(*(calls(inner, known) for inner in known[name]))


def allowed(unit):
    known = groups()
    result = calls("@default", known)
    for line in unit["SystemCallFilter"]:
        names = set().union(*(calls(name, known) for name in line.lstrip("~").split()))
        result = result - names if line.startswith("~") else result | names
    return result | calls("@default", known)


def confine(unit, names):
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(KILL)))

    def rule(name, *compares, action=ALLOW):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return  # Of another machine.
        array = (Compare * len(compares))(*compares)
        failed = library.seccomp_rule_add_array(
            context, ctypes.c_uint32(action), number, len(compares), array)
        assert failed == 0, (name, failed)

    special = {"mmap", "mprotect", "socket", "clone", "clone3", "unshare", "setns"}
    for name in sorted(names - special):
        rule(name)
    assert unit["MemoryDenyWriteExecute"] == ["yes"] and unit["RestrictNamespaces"] == ["yes"]
    for protection in (0, WRITE, EXEC):
        rule("mmap", Compare(2, MASKED_EQUAL, WRITE | EXEC, protection))
    rule("mprotect", Compare(2, MASKED_EQUAL, EXEC, 0))
    for family in unit["RestrictAddressFamilies"][0].split():
        rule("socket", Compare(0, EQUAL, FAMILIES[family], 0))
    for call in ("clone", "unshare"):
        rule(call, Compare(0, MASKED_EQUAL, NAMESPACES, 0))
    # Its flags stand in memory, where no filter sees them: who knows it tries clone() then.
    rule("clone3", action=ERRNO | errno.ENOSYS)
    assert library.seccomp_load(context) == 0


def main():
    unit, program = settings(sys.argv[1]), sys.argv[2:]
    names = allowed(unit)
    for limit, name in ((resource.RLIMIT_CORE, "LimitCORE"), (resource.RLIMIT_NOFILE, "LimitNOFILE")):
        most = resource.getrlimit(limit)[1]
        value = int(unit[name][0])
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(limit, (value, value))
    os.umask(int(unit["UMask"][0], 8))
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    assert ctypes.CDLL(None).prctl(NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    confine(unit, names)
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
