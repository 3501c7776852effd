"""Who a model and a tokenizer are: digests that do not depend on who saved the files, or how."""
