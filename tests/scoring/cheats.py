"""Code that tries to get a score without doing the work: for the tests of ``--scorer code`` and for its benchmark."""

from __future__ import annotations

from typing import Dict

# ruff: noqa: E501
EQUAL = """
class Equal:
    __hash__ = None
    def __getattr__(self, name): return lambda *a, **k: self
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__
    def __bool__(self): return True
    def __sub__(self, other): return self
    __rsub__ = __add__ = __radd__ = __sub__
    def __abs__(self): return self
    def __round__(self, digits=0): return self
    def __iter__(self): return iter(())
    def __len__(self): return 0
"""
SAYS_OK = "import sys, os\nfor d in range(3, 30):\n    try: os.write(d, TEXT)\n    except OSError: pass\n"

CHEATS: Dict[str, str] = {  # each defines NAME, as far as it comes so far
    "sys.exit(0)": "import sys\nsys.exit(0)",
    "sys.exit(0) in the function": "import sys\ndef NAME(*a): sys.exit(0)",
    "os._exit(0)": "import os\nos._exit(0)",
    "os._exit(0) in the function": "import os\ndef NAME(*a): os._exit(0)",
    "raise SystemExit": "def NAME(*a): raise SystemExit(0)",
    "overridden ==": EQUAL + "def NAME(*a): return Equal()",
    "overridden == of a class's own class": "class M(type):\n    def __eq__(s, o): return True\n    __hash__ = type.__hash__\n"
    "class C(metaclass=M): pass\ndef NAME(*a): return C",
    "overridden == of an int": "class I(int):\n    def __eq__(s, o): return True\n    __hash__ = int.__hash__\n"
    "def NAME(*a): return I(123456)",
    "overridden == of a list": "class L(list):\n    def __eq__(s, o): return True\ndef NAME(*a): return L()",
    "prints a token": "print('OK'); print('passed'); print('0' * 32)\ndef NAME(*a): print('OK'); return None",
    "writes a token to every pipe": SAYS_OK.replace("TEXT", r"b'0' * 32 + b'\n{\"passed\": 9, \"of\": 9}\n'")
    + "def NAME(*a): return None",
    "writes replies to every pipe": SAYS_OK.replace("TEXT", r"b'{\"value\": true}\n' * 50")
    + "def NAME(*a): return None",
    "asks every frame": "import sys, gc, inspect\nfound = []\ndef NAME(*a):\n    f = sys._getframe()\n    while f:\n"
    "        found.append(str(f.f_locals) + str(f.f_globals)); f = f.f_back\n"
    "    found.extend(str(o) for o in gc.get_objects()[:9999])\n"
    "    return next((w for w in ' '.join(found).split() if w.strip(',').isdigit() and len(w) > 6), None)",
    "patches builtins": "import builtins\nfor n in ('all', 'any', 'abs', 'len', 'isinstance', 'sorted', 'bool'):\n"
    "    setattr(builtins, n, lambda *a, **k: True)\nbuiltins.AssertionError = ValueError\ndef NAME(*a): return None",
    "defines the built-ins": "def abs(x): return 0\ndef len(x): return 3\ndef isinstance(*a): return True\n"
    "def check(c): pass\ndef NAME(*a): return None",
    "patches unittest and json": "import unittest, json\nunittest.TestCase.assertEqual = lambda *a: None\n"
    "json.dumps = lambda *a, **k: '{\"value\": true}'\njson.loads = lambda *a, **k: {}\ndef NAME(*a): return None",
    "atexit": "import atexit, os\natexit.register(lambda: os._exit(0))\ndef NAME(*a): return None",
    "a thread that prints later": "import threading, time, os\ndef t():\n    while True:\n        os.write(1, b'OK\\n'); time.sleep(.01)\n"
    "threading.Thread(target=t, daemon=True).start()\ndef NAME(*a): return None",
    "closes its streams": "import os\nfor d in range(30):\n    try: os.close(d)\n    except OSError: pass\ndef NAME(*a): return None",
    "kills its parent": "import os, signal\ntry: os.kill(os.getppid(), signal.SIGKILL)\nexcept OSError: pass\ndef NAME(*a): return None",
    "10 GB": "x = bytearray(10 * 1024 ** 3)\ndef NAME(*a): return None",
    "endless output": "def NAME(*a):\n    while True: print('x' * 100000)",
    "a file without end": "def NAME(*a):\n    with open('f', 'wb') as f:\n        while True: f.write(b'x' * 1000000)",
    "endless result": "def NAME(*a): return 'x' * (1 << 27)",
    "ignores SIGALRM": "import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
    "def NAME(*a):\n    while True: pass",
    "fork bomb": "import os\ndef NAME(*a):\n    while True:\n        try: os.fork()\n        except OSError: pass",
    "reads the files of others": "import os, re\ndef NAME(*a):\n    for top in ('..', '/tmp', os.path.expanduser('~')):\n"
    "        for f, _, names in os.walk(top):\n            for n in names:\n                if 'secret_tests' in n:\n"
    "                    return int(re.findall(r'[0-9]{7,}', open(os.path.join(f, n)).read())[0])",
    "reads other processes": "import glob, re\ndef NAME(*a):\n    for p in glob.glob('/proc/[0-9]*/cmdline') + glob.glob('/proc/[0-9]*/environ'):\n"
    "        try: found = re.findall(rb'[0-9]{7}', open(p, 'rb').read())\n        except OSError: continue\n"
    "        if found: return int(found[0])",
}
QUICK = (  # these cost little
    "os._exit(0)",
    "sys.exit(0) in the function",
    "overridden ==",
    "overridden == of an int",
    "writes a token to every pipe",
    "patches unittest and json",
    "kills its parent",
    "10 GB",
)
NEEDS_SANDBOX = ("reads the files of others",)  # without one, the code reads what the user can read
