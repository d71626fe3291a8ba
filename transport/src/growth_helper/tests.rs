use super::report::Line;
use super::*;

const SPANS: [Span; 1] = [Span { from_bytes: 0, to_bytes: 4096 }];

fn reserve_with(program: &str) -> Result<(), HelperError> {
    let file = tempfile::tempfile().unwrap();
    let helper = GrowthHelper::program(Path::new(program));
    helper.reserve(file.as_fd(), &SPANS, (&MemoryOptions::default(), Taking::by(None)))
}

// r[verify resources.helper]
#[test]
fn a_report_says_done_or_which_span_was_refused_and_why() {
    let text = format!("{}{}{}", Line::Step { bytes: 64 }, Line::Step { bytes: 7 }, Line::Done);
    let mut report = Report::default();
    let (last, before) = text.as_bytes().split_last().unwrap();
    for byte in before {
        assert_eq!(report.take(&[*byte]), Ok(false));
    }
    assert_eq!(report.take(&[*last]), Ok(true));
    assert_eq!((report.take_steps(), report.take_steps()), (vec![64, 7], vec![]));
    for call in [RefusedCall::Reserve, RefusedCall::Place, RefusedCall::Map] {
        let refusal = Refusal { span: 2, call, errno: Errno::NOSPC };
        let text = format!("{}{}", Line::Step { bytes: 1 }, Line::Refused(refusal));
        let refused = Report::default().take(text.as_bytes());
        assert_eq!(refused, Err(ReportError::Refused(refusal)));
    }
}

// r[verify resources.helper]
#[test]
fn what_is_no_report_is_told_from_one() {
    let long = "+".repeat(100);
    for text in [
        "\n",
        "++\n",
        "+ \n",
        "=\n",
        "=x\n",
        "=-1\n",
        "-1\n",
        "-1 1\n",
        "-1 map\n",
        "-1 map 0\n",
        "-1 map 4096\n",
        "-1 move 1\n",
        "-x map 1\n",
        &long,
    ] {
        let read = Report::default().take(text.as_bytes());
        assert_eq!(read, Err(ReportError::Malformed), "{text:?}");
    }
    assert_eq!(Report::default().take(b"=5\n=6\n+"), Ok(false));
}

// r[verify resources.helper]
#[test]
fn a_program_that_is_no_helper_is_a_typed_error() {
    assert_eq!(reserve_with("/nowhere/helper"), Err(HelperError::Start(Errno::NOENT)));
    assert_eq!(reserve_with("/bin/false"), Err(HelperError::Died));
    assert_eq!(reserve_with("/bin/echo"), Err(HelperError::Silent));
}

// r[verify resources.helper]
#[test]
fn a_helper_that_is_not_wanted_any_more_is_ended() {
    let scratch = tempfile::tempdir().unwrap();
    let (program, pid) = (scratch.path().join("helper"), scratch.path().join("pid"));
    let lines = "#!/bin/sh\nread -r stat < /proc/$$/stat\nset -- $stat\necho $$ $5 > $0.new\n\
                 mv $0.new ${0%/*}/pid\nexec sleep 600\n";
    // Written by another process: one that is forked here meanwhile cannot hold it open for writing.
    let write = "printf '%s' \"$1\" > \"$0\" && chmod 700 \"$0\"";
    let mut writer = Command::new("sh");
    let written = writer.args(["-c", write]).arg(&program).arg(lines).status().unwrap();
    assert!(written.success());
    let file = tempfile::tempfile().unwrap();
    let helper = GrowthHelper::program(&program);
    let is_wanted = || !pid.exists();
    let taking = Taking { is_wanted: &is_wanted, ..Taking::by(None) };
    let options = (&MemoryOptions::default(), taking);
    assert_eq!(helper.reserve(file.as_fd(), &SPANS, options), Err(HelperError::GivenUp));
    let told = std::fs::read_to_string(pid).unwrap();
    let (pid, group) = told.trim().split_once(' ').unwrap();
    assert_eq!(pid, group, "what a terminal sends does not reach it");
    assert!(!Path::new("/proc").join(pid).exists(), "it was waited for");
    assert_eq!(file.metadata().unwrap().len(), 0);
}
