//! `slipway`: the operator's one binary. `slipway serve` is the control plane; everything else is a
//! client of it.

use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(Box::pin(slipway_control::cli::run()));
            // A blocking read that nobody waits for any more must not hold the process.
            runtime.shutdown_background();
            code
        }
        Err(_) => ExitCode::FAILURE,
    }
}
