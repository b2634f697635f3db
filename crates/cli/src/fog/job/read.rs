//! Job files for the control panel: read without a folder, so that no file of the coordinator's machine can be named.

use betanet_machine::Rng;
use betanet_panel::{JobFile, ReadJobs, Reading};
use betanet_runtime::Identity;

use super::spec::{self, InputSource, Making};
use crate::fog::task::files::Blobs;

/// Signs tasks with the coordinator's key.
pub(crate) struct Reader(pub(crate) Identity);

impl ReadJobs for Reader {
    fn read(
        &self,
        text: &str,
        json: bool,
        reading: Reading,
        now_ms: u64,
        rng: &mut Rng,
    ) -> Result<JobFile, Vec<String>> {
        let mut job = spec::job_text(text, json)?;
        if reading == Reading::Plan {
            for spec in &mut job.tasks {
                spec.after.clear();
                let known = |source: &InputSource| !matches!(source, InputSource::Output { .. });
                spec.inputs.retain(|(_, source)| known(source));
            }
        }
        let blobs = Blobs::new();
        let mut making = Making {
            owner: &self.0,
            ns: &job.ns,
            now_ms,
            blobs: &blobs,
            made: Default::default(),
        };
        let (mut tasks, mut wrong) = (Vec::new(), Vec::new());
        for spec in &job.tasks {
            match making.task(spec, rng.array()) {
                Ok(made) => tasks.push((made.name, made.task)),
                Err(refusal) => wrong.push(format!("task.{}: {refusal}", spec.name)),
            }
        }
        match wrong.is_empty() {
            true => Ok(JobFile {
                ns: job.ns,
                name: job.name,
                tasks,
            }),
            false => Err(wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use betanet_machine::Seed;

    use super::*;

    fn read(text: &str, reading: Reading) -> Result<JobFile, Vec<String>> {
        let mut rng = Rng::new(&Seed::from_number(1));
        let reader = Reader(Identity::from_seed(&[1; 32]));
        reader.read(text, false, reading, 1_000, &mut rng)
    }

    #[test]
    fn tasks_are_signed_in_order_and_no_file_of_this_machine_is_named() {
        let hex = "07".repeat(32);
        let head = "ns = \"lab\"\nname = \"x\"\n";
        let module = format!("module = {{ sha256 = \"{hex}\", size = 4 }}\n");
        let text = format!("{head}[task.b]\nafter = [\"a\"]\n{module}[task.a]\n{module}");
        let job = read(&text, Reading::Run).unwrap();
        let names: Vec<&str> = job.tasks.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let first = job.tasks[0].1.id();
        assert!(job.tasks[1].1.after.iter().eq([&first]));
        let plan = read(&text, Reading::Plan).unwrap();
        assert!(plan.tasks[1].1.after.is_empty());
        // The program of this test is a file that is there, and whose presence must not be told.
        let here = std::env::current_exe().unwrap();
        for file in [here.display().to_string(), "/none".to_owned()] {
            let told = read(
                &format!("{head}[task.a]\nmodule = {file:?}\n"),
                Reading::Run,
            );
            let told = told.unwrap_err().concat();
            assert!(told.contains("of a stored blob of up to 64 MiB"), "{told}");
            let inputs = format!("{head}[task.a]\n{module}inputs = {{ x = {file:?} }}\n");
            let told = read(&inputs, Reading::Run).unwrap_err().concat();
            assert!(told.contains("of a stored blob of up to 4 GiB"), "{told}");
        }
        assert!(read("=", Reading::Run).is_err());
    }
}
