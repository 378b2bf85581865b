#!/usr/bin/env bash
# Measures crossrank and ONNX Runtime in turn on the same texts and threads, prints the ratios (above 1, crossrank is
# faster) and writes benches/results/*.json. Sets up the peer first where it is missing: Python 3 with venv, and Rust.
#
# usage: benches/compare.sh [option ...] [f32 | int8 ...]        both by default
#   --kinds LIST     of workloads, lengths, threads (the default is all three, separated by commas):
#                      workloads  rerank100, chunks32 and pair1, on two threads
#                      lengths    pairs of 16 to 512 tokens, on two threads
#                      threads    rerank100 on one and on two threads
#   --model DIR      default models/crossrank-mini
#   --name NAME      what results of another model are called: NAME-workloads-f32.json
#   --rounds N       rounds of each side in turn, default 5
#   --seconds S      time for each measurement of ours, and for each batch size of the peer's, default 2
#   --peers DIR      where the peer is, or is put, default target/peers
#   --results DIR    default benches/results
#   --exe PATH       the crossrank to measure, instead of building it
#   --prefix CMD     put in front of each measured command, for example 'taskset -c 0,1'
#   --processor NAME where the system's name for it is not enough
#   --plot           also draws benches/results/documents_per_second.svg
set -euo pipefail
cd "$(dirname "$0")/.."

kinds=workloads,lengths,threads model=models/crossrank-mini name="" rounds=5 seconds=2 exe="" prefix="" processor="" plot=""
peers=target/peers results=benches/results precisions=()
while (($#)); do
    case $1 in
        --plot) plot=yes ;;
        --kinds | --model | --name | --rounds | --seconds | --peers | --results | --exe | --prefix | --processor)
            declare "${1#--}=${2:?"$1 needs a value"}"
            shift
            ;;
        f32 | int8) precisions+=("$1") ;;
        *)
            sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
            exit 2
            ;;
    esac
    shift
done
((${#precisions[@]})) || precisions=(f32 int8)

python=$peers/bin/python
if ! "$python" -c 'import matplotlib, numpy, onnx, onnxruntime, safetensors, tokenizers' 2>/dev/null; then
    python3 -m venv "$peers"
    "$python" -m pip install -q onnx==1.23.2 onnxruntime==1.32.0 tokenizers==0.23.3 numpy==2.4.6 safetensors==0.8.0 \
        matplotlib==3.11.2
fi
graph=$peers/$(basename "$model")
if [[ ! -e $graph-int8.onnx || $model/model.safetensors -nt $graph-int8.onnx ]]; then
    "$python" benches/peers/build_onnx.py "$model" "$graph-f32.onnx" --int8 "$graph-int8.onnx"
fi
"$python" benches/peers/fixed_lengths.py "$model/tokenizer.json" "$peers/lengths" >/dev/null
if [[ ! $exe ]]; then
    # Only cargo knows where its configuration and the environment put the program.
    exe=$(cargo build --release --features cli --message-format=json-render-diagnostics |
        sed -n 's/.*"executable":"\([^"]*\/crossrank\)".*/\1/p')
fi

# A path as one word of a command that compare.py splits.
word() {
    printf '%q' "$1"
}

for precision in "${precisions[@]}"; do
    for kind in ${kinds//,/ }; do
        threads=2 batch=8,16,32 workloads=(benches/peers/{pair1,rerank100,chunks32}.json)
        case $kind in
            workloads) ;;
            # Short pairs leave a small batch idle, long ones fall out of the caches in a large one.
            lengths) batch=8,16,32,64,128 workloads=("$peers"/lengths/tokens-{16,32,64,128,256,512}.json) ;;
            threads) threads=1,2 workloads=(benches/peers/rerank100.json) ;;
            *) echo "no kind $kind: workloads, lengths or threads" >&2 && exit 2 ;;
        esac
        # Each side loads what it has stored in that precision.
        stored=$model
        [[ $precision == int8 && -d $model-int8 ]] && stored=$model-int8
        printf '\n%s, %s, %s\n' "$(basename "$stored")" "$kind" "$precision"
        "$python" benches/peers/compare.py --rounds "$rounds" --threads "$threads" --kind "$kind" --precision "$precision" \
            --write "$results/${name:+$name-}$kind-$precision.json" ${processor:+--processor "$processor"} \
            --ours "$prefix $(word "$exe") bench --model $(word "$stored") --backend cpu --precision $precision --threads {threads} --seconds $seconds --json --workload {workload}" \
            --peer "$prefix $(word "$python") benches/peers/ort_bench.py $(word "$graph-$precision.onnx") $(word "$model/tokenizer.json") {workload} --threads {threads} --batch $batch --seconds $seconds" \
            "${workloads[@]}"
    done
done
if [[ $plot ]]; then
    "$python" benches/peers/plot.py "$results"
fi
