"""Texts that try a tokenizer: many scripts, emoji, code, white space, odd Unicode. The same on every run."""
import pathlib
import random

HERE = pathlib.Path(__file__).parent

# Code points where the Unicode tables of PCRE2 10.42 (Unicode 14) and of the `tokenizers` wheel differ in the class
# that a pattern asks for; unicode_differences.py finds them, and nothing else is left out.
DIFFERENCES = HERE / "unicode_differences.txt"

SCRIPTS = [  # (first, last) of blocks people write in
    (0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x531, 0x58F), (0x5D0, 0x5F4),
    (0x600, 0x6FF), (0x700, 0x74F), (0x900, 0x97F), (0x980, 0x9FF), (0xA00, 0xA7F), (0xB80, 0xBFF), (0xC00, 0xC7F),
    (0xD00, 0xD7F), (0xE00, 0xE5B), (0xE80, 0xEDF), (0xF00, 0xFDA), (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF),
    (0x1200, 0x137C), (0x13A0, 0x13FD), (0x1780, 0x17FF), (0x1820, 0x18AA), (0x1E00, 0x1FFE), (0x3041, 0x30FF),
    (0x3400, 0x3500), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0xFB00, 0xFDFF), (0xFF01, 0xFFEE), (0x10330, 0x1034A),
    (0x10400, 0x1044F), (0x12000, 0x1236E), (0x13000, 0x1342E), (0x1D400, 0x1D7FF), (0x1E900, 0x1E959), (0x20000, 0x20100),
]
DIGITS = [0x30, 0x660, 0x6F0, 0x966, 0x9E6, 0xE50, 0x1040, 0x17E0, 0xFF10, 0x1D7CE]
NUMBERS = "²³¹¼½¾٪ⅣⅷⅫ①⑳⒈㉑㊀〇〡௰፩൰𐄇𝟘"
SPACES = [" ", "  ", "   ", " " * 7, " " * 30, "\t", "\t\t", "\n", "\n\n", "\r\n", "\r", " \n", "\n ", "\t \n  ", "\u00a0",
          "\u3000", "\u2003", "\u2009", "\u200a", "\u202f", "\u205f", "\u1680", "\u2028", "\u2029", "\u0085", "\x0b", "\x0c",
          "\u180e", "\u200b", "\ufeff", "\u2060"]
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇯🇵🇫🇷", "❤️", "☃", "🧑🏿‍🚀", "1️⃣", "🫠", "🐈‍⬛", "✅", "🀄", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
MARKS = ["\u0301", "\u0308\u0323", "\u0335", "\u20dd", "\u064b", "\u093c", "\u0e49", "\u3099", "\ufe0f", "\u0f71\u0f72"]
ODD = ["\ufffd", "\ue000", "\uf8ff", "\U000f0000", "\U0010fffd", "\u200d", "\u200e\u202e", "\ufdd0", "\uffff", "\u00ad",
       "\x00", "\x01", "\x07", "\x1b[0m", "\x7f", "\u0080", "\u009f", "\u2581", "Ġ", "Ċ", "<0x0A>", "</s", "<|im_start", "ſ",
       "İ", "ß", "ﬀ", "K", "ǅ", "·", "§", "\u0378"]
ENDINGS = ["'s", "'S", "'t", "'T", "'re", "'RE", "'Ve", "'m", "'ll", "'LL", "'lL", "'d", "'D", "'ſ", "'x", "''s", "’s", "'", "'r", "'l"]
PUNCT = list("!\"#$%&()*+,-./:;<=>?@[]^_`{|}~\\") + ["...", "--", "==", "!!!", "«", "»", "„", "“", "、", "。", "¿", "—", "€", "→", "∑",
                                                      "≤", "©", "```", "***", "//", "/*", "&&", "->", "::", "%s"]
WORDS = ("the of and to in is that for it with was on as be at by not this are from or have an they which one you had all were her there "
         "would their we him been has when who will more no if out so said what up its about into than them can only other new some could time "
         "these two may then do first any my now such like our over man me even most made after also did many before must through back years "
         "Straße naïve café façade Øre żółć привет мир 你好 世界 こんにちは 안녕하세요 नमस्ते שלום مرحبا สวัสดี Γειά გამარჯობა բարև "
         "HTTPServer camelCase snake_case SCREAMING_CASE x86_64 utf8 I18N don't it's WE'LL they're I'd").split()
CODE = ["def f(x):\n    return x ** 2\n", "for (int i = 0; i < n; i++) {\n\tsum += a[i];\n}\n", "SELECT * FROM t WHERE id = 42;",
        "<div class=\"a\">&nbsp;</div>", "{\"key\": [1, 2.5e-3, null]}", "#include <stdio.h>\r\n", "let r#type = |x: &'a str| x.len();",
        "https://example.org/a?b=c&d=%20#e", "C:\\Users\\me\\file.txt", "$ ls -la | grep '^d'", "a@b.example", "0xDEADBEEF 1_000_000 3.14159",
        "// TODO(me): fix\n", "    if x:\n        pass\n    else:\n        y = '''z'''\n", "\\frac{a}{b}^{2}", "| a | b |\n|---|---|\n"]


def excluded():
    """The code points of DIFFERENCES, as a set."""
    found = set()
    for line in DIFFERENCES.read_text().splitlines():
        if line and not line.startswith("#"):
            first, _, last = line.split()[0].partition("-")
            found.update(range(int(first, 16), int(last or first, 16) + 1))
    return found


def pick(rng, ranges):
    first, last = rng.choice(ranges)
    return chr(rng.randint(first, last))


def any_char(rng):
    while True:
        c = rng.randint(0, rng.choice([0xFF, 0x2FFF, 0xFFFF, 0x1FFFF, 0x10FFFF]))
        if not 0xD800 <= c <= 0xDFFF:
            return chr(c)


def part(rng, kind):
    if kind == 0:
        return rng.choice(["", " "]) + rng.choice(WORDS)
    if kind == 1:
        block = rng.choice(SCRIPTS)
        return rng.choice(["", " "]) + "".join(chr(rng.randint(*block)) for _ in range(rng.randint(1, 9)))
    if kind == 2:
        zero = rng.choice(DIGITS)
        return "".join(chr(zero + rng.randint(0, 9)) for _ in range(rng.randint(1, 8))) + rng.choice(["", "", rng.choice(NUMBERS)])
    if kind == 3:
        return "".join(rng.choice(SPACES) for _ in range(rng.randint(1, 3)))
    if kind == 4:
        return rng.choice(EMOJI) * rng.randint(1, 2)
    if kind == 5:
        return "".join(rng.choice(PUNCT) for _ in range(rng.randint(1, 4)))
    if kind == 6:
        return rng.choice(["", rng.choice(WORDS)]) + rng.choice(ENDINGS)
    if kind == 7:
        return rng.choice("aeioußдक") + rng.choice(MARKS)
    if kind == 8:
        return rng.choice(ODD)
    if kind == 9:
        return rng.choice(CODE)
    return "".join(any_char(rng) for _ in range(rng.randint(1, 4)))


def lines(n, seed=1, leave_out=None):
    """n different texts; characters in leave_out do not occur."""
    rng = random.Random(seed)
    leave_out = excluded() if leave_out is None else leave_out
    found = {}
    while len(found) < n:
        weights = [rng.random() ** 2 for _ in range(11)]
        text = "".join(part(rng, kind) for kind in rng.choices(range(11), weights, k=rng.randint(1, 14)))
        text = "".join(c for c in text if ord(c) not in leave_out)
        if text:
            found[text] = True
    return list(found)
