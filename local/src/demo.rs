//! `demo`: the bundled model, or another, answers a question through masked products, then what each party saw.

mod report;
mod witness;

use std::sync::Arc;

use talaria_host_cvm::cli::masking::{EngineArgs, configured};
use talaria_host_cvm::{Counters, Cvm, CvmConfig, Glimpse, Masking, Message, Prompt};

use crate::cli::DemoArgs;
use crate::demo_model;
use crate::error::LocalError;
use crate::generate::{Outcome, generate, greedy, load_payload};
use crate::hosts::{self, Device, Host, HostOptions};
use crate::output::{self, print};
use crate::progress::Bar;
use witness::Witness;

/// What the demo model is asked by default; it was trained on dialogues like this.
pub const QUESTION: &str = "What does `E0382` mean?";
/// What any other model is asked by default.
const OTHER_QUESTION: &str = "What is the capital of France?";

/// Elements of a row that are shown.
const ELEMENTS: usize = 6;

/// Runs the subcommand.
///
/// # Errors
/// Whatever keeps the reply from being complete, and a payload that does not tell the truth about what
/// it sent.
pub async fn demo(args: DemoArgs) -> Result<(), LocalError> {
    let default = match args.model {
        None => QUESTION,
        Some(_) => OTHER_QUESTION,
    };
    let prompt = args.prompt.as_deref().unwrap_or(default);
    let parties = Parties::start(&args).await?;
    print(&format!("> {prompt}\n\n"))?;
    let (answer, glimpse) = parties.answer(prompt, args.max_new_tokens).await?;
    parties.cross_check(&glimpse)?;
    print(&parties.report(&answer, &glimpse))?;
    parties.cvm.shutdown().await;
    Ok(())
}

/// The CVM, the GPU hosts, and a witness beside each of these.
struct Parties {
    cvm: Cvm,
    _hosts: Vec<Host>,
    witnesses: Vec<Arc<Witness>>,
    masking: Masking,
    device: String,
}

impl Parties {
    async fn start(args: &DemoArgs) -> Result<Self, LocalError> {
        let bundled;
        let model = match &args.model {
            Some(path) => path.as_path(),
            None => {
                bundled = demo_model::unpack().map_err(LocalError::Temporary)?;
                bundled.path()
            }
        };
        let device = Device {
            backend: args.backend.backend,
            ..Device::default()
        };
        let bar = Bar::new("quantising");
        let model = hosts::load(model, device, bar.loading()).await;
        bar.clear();
        let model = model?;

        let (mut running, mut witnesses) = (Vec::new(), Vec::new());
        let masking = args.masking.scheme(0);
        for _ in 0..masking.hosts() {
            let witness = Arc::new(Witness::new(&model.manifest, ELEMENTS));
            let observer = Some(Arc::clone(&witness) as Arc<_>);
            let options = HostOptions {
                observer,
                ..HostOptions::default()
            };
            running.push(hosts::serve(&model, options).await?);
            witnesses.push(witness);
        }
        let cvm = start_cvm(args, hosts::urls(&running)).await?;
        Ok(Self {
            cvm,
            _hosts: running,
            witnesses,
            masking,
            device: model.backend.describe(),
        })
    }

    /// Streams the reply; returns it with one row of its prompt as each party saw it.
    async fn answer(
        &self,
        prompt: &str,
        max_new_tokens: u32,
    ) -> Result<(Answer, Glimpse), LocalError> {
        self.cvm.arm_glimpse(ELEMENTS as u32).await;
        let message = Message::new("user", prompt);
        let request = greedy(Prompt::Chat(vec![message]), max_new_tokens);
        let before = self.cvm.counters();
        let outcome = generate(&self.cvm, request, output::write).await?;
        let counters = self.cvm.counters().since(before);
        let glimpse = self.cvm.take_glimpse().await;
        let glimpse = glimpse.ok_or(LocalError::Defect("the payload's account of a row"))?;
        Ok((Answer { outcome, counters }, glimpse))
    }

    /// The payload's account of what it sent against what each host received.
    fn cross_check(&self, glimpse: &Glimpse) -> Result<(), LocalError> {
        for (i, (head, witness)) in glimpse.hosts.iter().zip(&self.witnesses).enumerate() {
            if !witness.saw(head) {
                let projection = glimpse.projection.clone();
                return Err(LocalError::Unwitnessed {
                    host: i + 1,
                    projection,
                });
            }
        }
        Ok(())
    }
}

async fn start_cvm(args: &DemoArgs, hosts: Vec<String>) -> Result<Cvm, LocalError> {
    let payload = load_payload(args.cache.dir()).await?;
    let masking = args.masking.scheme(0);
    let config = CvmConfig {
        hosts,
        cache_dir: args.cache.dir(),
        ..configured(masking, &args.masking.settings, &EngineArgs::default())
    };
    let bar = Bar::new("set-up pass");
    let cvm = Cvm::start(&payload, config, bar.setup()).await;
    bar.clear();
    Ok(cvm?)
}

/// The reply and what it took.
struct Answer {
    outcome: Outcome,
    counters: Counters,
}
