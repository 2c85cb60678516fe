"""Images: the DAX header, partition tables, ext4 and cpio, and reading them back: bytes and layout only."""
