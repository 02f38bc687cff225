"""Policies that write: causal language models of transformers, judged by their tokens; ``load`` builds one."""
