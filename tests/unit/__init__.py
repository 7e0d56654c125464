"""What single modules do, with files by real Cyrus and literal bytes."""
