"""The commands `lopd-store` and `lopd-train`: parse, call one library function, print."""
