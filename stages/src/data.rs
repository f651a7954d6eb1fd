//! The `data` stage: a world's demonstrations, training prompts and evaluation prompts.
