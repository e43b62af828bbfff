//! Tools that are WebAssembly modules: code of strangers at nearly native speed, which can reach nothing but its own memory.
//!
//! A module imports nothing. It exports its `memory`, `alloc(length: i32) -> i32`, which gives room for a call, and
//! `call(pointer: i32, length: i32) -> i64`, which reads the call there as JSON, `{"name": .., "arguments": {..}}`, and returns
//! where its answer stands, pointer in the upper and length in the lower 32 bits: `{"value": ..}` or `{"error": ".."}`.
//! Every call has a fresh instance, so none sees what another left behind.
//!
//! Nothing in it depends on the machine: there is no clock and no random number, `NaN` has one form, and fuel, not
//! time, is what normally ends a call that would not. The clock is the second deadline, in steps of [`TICK`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use wasmtime::{Config, Engine, InstancePre, Linker, Module, ResourceLimiter, Store, Trap};

use crate::error::{Error, Result};
use crate::sandbox::{End, Limits, Outcome, Sandbox};
use crate::state::State;
use crate::toolbox::{Toolbox, read_reply};
use crate::{ToolCall, ToolSpec};

/// How exact the deadline by the clock is.
pub const TICK: Duration = Duration::from_millis(5);
/// The largest module that is read: compiling takes time, too.
const MODULE_BYTES: u64 = 32 << 20;
/// The most elements of a module's tables together.
const TABLE_ELEMENTS: usize = 100_000;
/// How deep calls inside a module may nest, bytes of stack.
const STACK: usize = 512 << 10;
/// What an answer may have around its value.
const ENVELOPE: usize = 1 << 10;

/// Tools of one module, and where it lies.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What these tools are about, one word.
    pub name: String,
    /// The module, from the manifest's folder: a `.wasm` file, or one in the text format.
    pub module: PathBuf,
    /// The tools.
    pub tools: Vec<ToolSpec>,
}

/// Tools that run in a WebAssembly module.
pub struct Modules {
    toolbox: Toolbox,
    engine: Engine,
    module: InstancePre<Guest>,
}

impl std::fmt::Debug for Modules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Modules").field("toolbox", &self.toolbox).finish_non_exhaustive()
    }
}

/// What an instance may have, and whether it wanted more.
struct Guest {
    memory: usize,
    starved: bool,
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.starved |= desired > self.memory;
        Ok(desired <= self.memory)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.starved |= desired > TABLE_ELEMENTS;
        Ok(desired <= TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }
}

impl Modules {
    /// Reads and compiles the module of a manifest that lies in `folder`.
    ///
    /// # Errors
    ///
    /// If the module cannot be read or compiled, imports anything, or does not export what it should; if there is no tool.
    pub fn new(manifest: Manifest, folder: &Path) -> Result<Self> {
        let path = folder.join(&manifest.module);
        let read = |source| Error::Read { path: path.clone(), source };
        let bytes = std::fs::metadata(&path).map_err(read)?.len();
        let failed = |reason: String| Error::Start { what: path.display().to_string(), reason };
        if bytes > MODULE_BYTES {
            return Err(failed(format!("it has {bytes} bytes, at most {MODULE_BYTES} are read")));
        }
        let bytes = std::fs::read(&path).map_err(read)?;
        let toolbox = Toolbox::new(manifest.tools)?;
        let (engine, module) = compile(&bytes).map_err(failed)?;
        let weak = engine.weak();
        let tick = move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        };
        let ticker = std::thread::Builder::new().name("wasm clock".into()).spawn(tick);
        ticker.map_err(|error| failed(error.to_string()))?;
        Ok(Self { toolbox, engine, module })
    }

    fn call(&self, call: &ToolCall, limits: &Limits) -> (End, u64) {
        let mut store = Store::new(&self.engine, Guest { memory: limits.memory_bytes, starved: false });
        store.limiter(|guest| guest);
        let ticks = u128::from(limits.millis) / TICK.as_millis() + 1;
        store.set_epoch_deadline(u64::try_from(ticks).unwrap_or(u64::MAX));
        let end = match store.set_fuel(limits.fuel) {
            Ok(()) => self.ask(&mut store, call, limits),
            Err(error) => Err(error),
        };
        let steps = limits.fuel - store.get_fuel().unwrap_or_default();
        let end = end.unwrap_or_else(|error| match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel | Trap::Interrupt) => End::TimedOut,
            _ if store.data().starved => End::OutOfMemory,
            Some(trap) => End::Broken(trap.to_string()),
            None => End::Broken(format!("{error:#}")),
        });
        (end, steps)
    }

    fn ask(&self, store: &mut Store<Guest>, call: &ToolCall, limits: &Limits) -> wasmtime::Result<End> {
        let text = serde_json::to_vec(call)?;
        let length = i32::try_from(text.len())?;
        let instance = self.module.instantiate(&mut *store)?;
        let alloc = instance.get_typed_func::<i32, i32>(&mut *store, "alloc")?;
        let run = instance.get_typed_func::<(i32, i32), i64>(&mut *store, "call")?;
        let memory = instance.get_memory(&mut *store, "memory");
        let memory = memory.ok_or_else(|| wasmtime::Error::msg("there is no memory"))?;
        let at = alloc.call(&mut *store, length)?;
        memory.write(&mut *store, at.cast_unsigned() as usize, &text)?;
        let answer = run.call(&mut *store, (at, length))?.cast_unsigned();
        let (at, length) = ((answer >> 32) as usize, (answer & u64::from(u32::MAX)) as usize);
        if length > limits.output_bytes.saturating_add(ENVELOPE) {
            return Ok(End::TooMuchOutput);
        }
        let output = memory.data(&*store).get(at..at + length);
        Ok(output.map_or_else(|| End::Broken("its answer lies outside of its memory".into()), read_reply))
    }
}

fn compile(bytes: &[u8]) -> std::result::Result<(Engine, InstancePre<Guest>), String> {
    let mut config = Config::new();
    config.consume_fuel(true).epoch_interruption(true).max_wasm_stack(STACK);
    config.wasm_multi_memory(false).wasm_memory64(false).wasm_relaxed_simd(false);
    config.cranelift_nan_canonicalization(true);
    let text = |error: wasmtime::Error| format!("{error:#}");
    let engine = Engine::new(&config).map_err(text)?;
    let module = Module::new(&engine, bytes).map_err(text)?;
    if let Some(import) = module.imports().next() {
        return Err(format!(
            "it imports `{}.{}`, and there is nothing to import",
            import.module(),
            import.name()
        ));
    }
    for name in ["memory", "alloc", "call"] {
        if module.get_export(name).is_none() {
            return Err(format!("it does not export `{name}`"));
        }
    }
    let module = Linker::new(&engine).instantiate_pre(&module).map_err(text)?;
    Ok((engine, module))
}

impl Sandbox for Modules {
    fn tools(&self) -> &[ToolSpec] {
        self.toolbox.specs()
    }

    fn run(&self, call: &ToolCall, _state: &mut State, limits: &Limits) -> Outcome {
        self.toolbox.run(call, limits, |call| self.call(&call, limits))
    }
}
