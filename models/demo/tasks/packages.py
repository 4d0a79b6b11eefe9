"""Random names, versions, paths and people as package records have them: never from a short list alone, so that copying is learned."""

import random
from string import ascii_lowercase, ascii_uppercase, digits

_ONSETS = "b c d f g h j k l m n p r s t v w x z br ch cl cr dr fl fr gl gn gr kr ph pl pr qu sc sh sk sl sp st str th tr wh".split()
_VOWELS = "a e i o u a e i o u y ai au ea ee ia io oo ou".split()
_CODAS = ["", "", "", "", *"b c ck d f g l ll m n nd ng nt p r rk rs rt s ss st t x z".split()]

WORDS = (
    "apt archive async atlas audio auth backup base bash batch beam bench binary bind block blue boot bridge buffer build bus byte bzip cache "
    "calendar camera card cast cert chain chart check chrome clang class cli client clock cloud code color common compat compile config console "
    "core cpu crypt curl cursor daemon data date debug decode default desktop device dialog dict diff disk dns doc docker draw driver dump edit "
    "elf email emoji engine event exec expat extra fast ffi fetch file filter find firewall flow font fork format frame free fuse game gate git "
    "glib gnome gold gpg grab graph grep group gtk guard gzip hash hex hook host html http icon idle image index info init inet input inotify "
    "install ipc iso jack java jpeg json kernel key keyring lang layer ldap legacy lex lib light line link linux lite load locale lock log loop "
    "lua lzma magic mail make man map mark math media mem menu merge mesh meta mime mini mirror mod monitor motd mount mouse mpi multi music "
    "nano net news nginx node note notify npm null numa object odbc office open opt pack page pam panel paper parse part pass patch path pdf "
    "perl photo php pin ping pipe pixel pkg plain plot plugin png point pool port post power print probe proc proto proxy pulse pure push "
    "python query queue quick quota rack radio random raw rdf read redis regex relay remote repo rest ring rock route rpc rpm rsync ruby run "
    "rust safe sample sane scan scheme screen script sdl search secure seed select sensor server session shadow shell shift signal simple site "
    "slang smart smtp snap socket sound source spell split sql ssh ssl stack stat static storage stream string sudo swap sync sys table tag tar "
    "task tcl tcp term test text theme thread tiff time tiny tls tool trace track tree tty tune udev udp unicode unit unix update url usb user "
    "utf util uuid vault vector vga video view vim virtual vnc voice wave web wget wide widget window wire wood work wrap xattr xml xorg yacc "
    "yaml zip zlib zone zstd"
).split()

SECTIONS = (
    "admin cli-mono comm database debug devel doc editors education electronics embedded fonts games gnome gnu-r gnustep golang graphics "
    "hamradio haskell httpd interpreters introspection java javascript kde kernel libdevel libs lisp localization mail math metapackages misc "
    "net news ocaml oldlibs otherosfs perl php python ruby rust science shells sound tasks tex text utils vcs video web x11 xfce zope "
    "non-free/utils contrib/net non-free/libs contrib/python non-free/doc universe/libs restricted/admin multiverse/games non-free-firmware/kernel"
).split()

ARCHITECTURES = "amd64 all arm64 armhf i386 riscv64 ppc64el s390x mips64el any loong64 armel hppa".split()
_SUFFIXES = (
    "",
    "",
    "",
    "-dev",
    "-doc",
    "-bin",
    "-common",
    "-data",
    "-utils",
    "-tools",
    "-dbg",
    "-perl",
    "-java",
    "-modules",
    "-client",
    "-server",
    "-extra",
)
_PRODUCTS = (
    "PAM Kerberos LDAP systemd Debian Linux GNOME KDE Apache PostgreSQL MySQL SQLite Docker Python Perl OpenSSL OpenSSH GnuPG Samba NFS NIS TCP/IP "
    "DHCP DNS IPv6 USB UTF-8 ISO-8859-1 UNIX GRUB LVM RAID SSL TLS CUPS X11 Wayland Postfix Exim SMTP IMAP HTTP HTTPS API URL XML JSON PDF Java "
    "Ubuntu Windows macOS Android GPG SELinux AppArmor cron syslog dpkg apt debconf sudo man-db libc Realm root mutt vim Emacs nginx VirtualBox"
).split()
_FOLDERS = (
    "/etc",
    "/etc/default",
    "/usr/share/doc",
    "/var/lib",
    "/var/log",
    "/usr/lib",
    "/usr/bin",
    "/etc/init.d",
    "/home",
    "/srv",
    "/opt",
    "/etc/pam.d",
    "/var/cache",
    "/usr/local/bin",
    "/boot",
    "/dev",
    "/tmp",
    "~/.config",
)
_VARIABLES = "package filename name user id path file version device gecos kernel dir host home shell service group database module".split()
_FIRST = (
    "Ana Björn Chen Dmitri Elena Farid Giulia Hannah Ivan Jürgen Kaoru Liam Marta Niels Olga Pedro Qing Rosa Sven Tomasz Ulla Vera Wei Xavier "
    "Yusuf Zoë Andrés Bea Colin David Emil François Guillem Helmut Ian Josh Klaus Luca Matthias Noor Ondřej Paul Raphaël Simon Thomas Utkarsh"
).split()


def chance(rng: random.Random, share: float) -> bool:
    """Draw yes with the given probability (0-1)."""
    return rng.random() < share


def syllables(rng: random.Random, most: int = 3) -> str:
    """Make up a pronounceable lower-case word of one to `most` syllables."""
    parts = (rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.randint(1, most)))
    return "".join(parts)


def word(rng: random.Random) -> str:
    """Give a technical word, a made-up one, or, rarely, letters and digits without sense."""
    draw = rng.random()
    if chance(rng, 0.1):
        return rng.choice(ascii_lowercase) + "".join(rng.choices(ascii_lowercase + digits, k=rng.randint(1, 7)))
    return rng.choice(WORDS) if draw > 0.45 else syllables(rng)  # noqa: PLR2004  # a share


def package_name(rng: random.Random) -> str:
    """Make up a package name in the manner of a distribution."""
    stem = word(rng) if chance(rng, 0.6) else f"{word(rng)}{rng.choice(['-', '-', '', '+', '.'])}{word(rng)}"
    number = rng.choice(
        ["", str(rng.randint(0, 12)), f"{rng.randint(1, 9)}.{rng.randint(0, 40)}", f"-{rng.randint(0, 6)}"]
    )
    shape = rng.randrange(8)
    if shape <= 2:  # noqa: PLR2004  # three shapes of eight
        return f"lib{stem}{number}{rng.choice(_SUFFIXES)}"
    if shape == 3:  # noqa: PLR2004  # one shape
        return f"{rng.choice(['python3', 'golang', 'ruby', 'node', 'fonts', 'gir1.2', 'r-cran', 'php', 'libghc', 'linux'])}-{stem}"
    return f"{stem}{number if chance(rng, 0.3) else ''}{rng.choice(_SUFFIXES)}".removesuffix(".")


def version(rng: random.Random) -> str:
    """Make up a version, with epochs, tildes, `+dfsg` and revisions now and then."""
    sizes = [rng.choice([rng.randint(0, 9), rng.randint(0, 40), rng.randint(0, 400)]) for _ in range(rng.randint(1, 4))]
    upstream = ".".join(map(str, sizes))
    if chance(rng, 0.1):
        upstream = f"{rng.randint(1998, 2026)}{rng.randint(1, 12):02}{rng.randint(1, 28):02}"
    extra = [
        "",
        "",
        "",
        "",
        "+dfsg",
        "+dfsg1",
        "~rc1",
        "~beta2",
        "a",
        "b",
        "~git2022" + str(rng.randint(1000, 1231)),
        "+ds",
        ".post1",
        "+nmu1",
    ]
    revision = [
        "",
        f"-{rng.randint(0, 12)}",
        f"-{rng.randint(1, 9)}",
        f"-{rng.randint(1, 9)}",
        f"-{rng.randint(0, 3)}.{rng.randint(1, 4)}",
    ]
    tail = [
        "",
        "",
        "",
        "",
        f"+b{rng.randint(1, 9)}",
        f"+deb{rng.randint(9, 13)}u{rng.randint(1, 5)}",
        f"ubuntu{rng.randint(1, 9)}",
        "~bpo12+1",
    ]
    epoch = f"{rng.randint(1, 5)}:" if chance(rng, 0.12) else ""
    return epoch + upstream + rng.choice(extra) + rng.choice(revision) + rng.choice(tail)


def person(rng: random.Random) -> str:
    """Make up a first and a family name."""
    return f"{rng.choice(_FIRST) if chance(rng, 0.7) else syllables(rng, 2).capitalize()} {syllables(rng).capitalize()}"


def maintainer(rng: random.Random) -> str:
    """Make up a maintainer or a team with an address."""
    if chance(rng, 0.45):
        topic = word(rng)
        who = f"{rng.choice(['Debian', 'Ubuntu', syllables(rng, 2).capitalize()])} {topic.capitalize()} {rng.choice(['Maintainers', 'Team', 'Group'])}"
        return f"{who} <{rng.choice(['pkg-', 'team+', 'debian-', ''])}{topic}@{rng.choice(['lists', 'tracker', 'alioth'])}.{word(rng)}.org>"
    name = person(rng)
    login = rng.choice([name.split()[0], name.replace(" ", "."), syllables(rng, 2)]).lower()
    return f"{name} <{login}@{word(rng)}.{rng.choice(['org', 'net', 'com', 'de', 'io', 'fr'])}>"


def path(rng: random.Random) -> str:
    """Make up a path on a Unix machine."""
    inner = rng.choice([word(rng), package_name(rng), f"{word(rng)}/{word(rng)}"])
    ending = rng.choice(
        ["", "", ".conf", ".d", ".txt", "/README", ".log", ".cfg", "/config", ".service", "/NEWS.Debian.gz"]
    )
    return f"{rng.choice(_FOLDERS)}/{inner}{ending}"


def technical(rng: random.Random) -> str:
    """Give something that stands untranslated in any language: a product, package, path, variable, option or code."""
    shape = rng.randrange(11)
    if shape <= 3:  # noqa: PLR2004  # four shapes of eleven
        return rng.choice(_PRODUCTS)
    makers = (
        lambda: package_name(rng),
        lambda: path(rng),
        lambda: "${" + rng.choice(_VARIABLES) + "}",
        lambda: f"--{word(rng)}",
        lambda: f"{word(rng)}({rng.randint(1, 8)})",
        lambda: syllables(rng, 2).capitalize() + (rng.choice(WORDS).capitalize() if chance(rng, 0.3) else ""),
        lambda: "".join(rng.choices(ascii_uppercase + digits + "_", k=rng.randint(2, 8))),
    )
    return makers[shape - 4]()


def cut(text: str, bytes_max: int) -> str:
    """Keep what fits into so many bytes of UTF-8, never half a character."""
    return text.encode()[:bytes_max].decode(errors="ignore")
