//! Mistakes planted in the kernels, one at a time: the cases must catch each.

use super::host::{self, Host};
use super::{CASES, modules, text};

struct Mutant {
    module: &'static str,
    what: &'static str,
    from: &'static str,
    to: &'static str,
}

const MUTANTS: [Mutant; 7] = [
    Mutant {
        module: "group_advantages",
        what: "the deviation of a population instead of a sample",
        from: "squares / (count - 1.0)",
        to: "squares / count",
    },
    Mutant {
        module: "group_advantages",
        what: "an unscorable member counts as a zero",
        from: "count += scored(x) ? 1.0 : 0.0;\n    });\n    b.count",
        to: "count += 1.0;\n    });\n    b.count",
    },
    Mutant {
        module: "token_logprobs",
        what: "the values behind the last whole word are forgotten",
        from: "i = split.tail + first; i < n; i += step) {\n        float one",
        to: "i = n; i < n; i += step) {\n        float one",
    },
    Mutant {
        module: "token_logprobs",
        what: "no barrier between a row's partial sums and their reading",
        from: "partial[warp] = s;\n    __syncthreads();",
        to: "partial[warp] = s;",
    },
    Mutant {
        module: "grpo_loss",
        what: "the clip lets the slope through",
        from: "low <= r.value && r.value <= high ? r.slope : 0.0",
        to: "r.slope",
    },
    Mutant {
        module: "grpo_loss",
        what: "words are stored where no word begins",
        from: "uint4 *words = (uint4 *)(at + split.head);",
        to: "uint4 *words = (uint4 *)at;",
    },
    Mutant {
        module: "adamw",
        what: "bf16 weights are cut, not rounded",
        from: "bits + 0x7fffu + ((bits >> 16) & 1)",
        to: "bits",
    },
];

#[test]
fn planted_mistakes_are_caught() {
    let Some(compiler) = host::compiler() else {
        eprintln!("skipped: no C++ compiler");
        return;
    };
    for (i, mutant) in MUTANTS.iter().enumerate() {
        let modules = modules(mutant.module);
        let text = text(&modules);
        assert_eq!(text.matches(mutant.from).count(), 1, "{}: not found once", mutant.what);
        let planted = text.replace(mutant.from, mutant.to);
        let check = CASES.iter().find(|case| case.0 == mutant.module).expect("it has cases").1;
        let caught = check(&Host::build(&compiler, &format!("mutant-{i}"), &modules, &planted));
        match caught {
            Ok(()) => panic!("not caught: {}", mutant.what),
            Err(how) => eprintln!("{}: {how}", mutant.what),
        }
    }
}
