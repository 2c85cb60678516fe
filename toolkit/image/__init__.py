"""Images: bytes and layout only (DAX header, partition table, ext4, cpio), and reading them back."""
