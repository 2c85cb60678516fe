"""What a root file system can be made from: one file a kind, each giving a tree and what is known of its parts."""
