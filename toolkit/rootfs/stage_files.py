"""What other stages hand to the sources of a root file system: the names of the files in their outputs."""

from __future__ import annotations

DEBIAN_TAR, DEBIAN_INFO = "debian.tar", "debian.json"
BUSYBOX, APPLETS, VERSION, FACTS, COPYRIGHT = "busybox", "applets", "version", "package.json", "copyright"
BUSYBOX_PACKAGE = "busybox-static"
