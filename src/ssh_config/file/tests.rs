use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The ports that a file and its includes say, in order.
fn ports(items: &[Item]) -> Vec<String> {
    let mut ports = Vec::new();
    for item in items {
        match item {
            Item::Option { value, .. } => ports.push(value.to_string()),
            Item::Include { files } => files.iter().for_each(|file| ports.extend(self::ports(file))),
            _ => {}
        }
    }
    ports
}

fn read_all(home: &Path, user: bool) -> Result<Vec<String>, SshConfigError> {
    let local = Local::new("me", 1000, home, "desk");
    let mut reader = Reader::new(&local);
    let trust = Trust { dir: &home.join(".ssh"), user, check: true, required: true };
    let items = reader.file(&home.join(".ssh/config"), trust)?;
    reader.finish()?;
    Ok(ports(&items))
}

#[test]
fn includes_begin_at_the_ssh_directory_and_are_read_in_order() {
    let home = tempfile::tempdir().unwrap();
    let ssh = home.path().join(".ssh");
    let absolute = home.path().join("abs");
    let line = format!("Include conf.d/* ~/other {} nothing\nPort 9\n", absolute.display());
    write(&ssh.join("config"), &line);
    for (name, port) in [("conf.d/20", 2), ("conf.d/10", 1), ("conf.d/.hidden", 7), ("conf.d/deep/x", 7)] {
        write(&ssh.join(name), &format!("Port {port}\n"));
    }
    std::fs::remove_dir_all(ssh.join("conf.d/deep")).unwrap();
    write(&home.path().join("other"), "Port 3\r\nInclude conf.d/10\n");
    write(&absolute, "Port 4");
    assert_eq!(read_all(home.path(), true).unwrap(), ["1", "2", "3", "1", "4", "9"]);
    let error = read_all(home.path(), false).unwrap_err().to_string();
    assert!(error.contains("config:1: include `~/other`"), "{error}");
}

#[test]
fn a_file_that_others_may_write_to_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join(".ssh/config");
    let included = home.path().join(".ssh/more");
    write(&config, "Include more\n");
    write(&included, "Port 1\n");
    assert_eq!(read_all(home.path(), true).unwrap(), ["1"]);
    for (file, mode) in [(&config, 0o620), (&included, 0o602)] {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = read_all(home.path(), true).unwrap_err();
        assert!(matches!(&error, SshConfigError::Unsafe { file: named, .. } if named == file), "{error}");
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    assert_eq!(read_all(home.path(), true).unwrap(), ["1"]);
}

#[test]
fn files_that_include_themselves_end() {
    let home = tempfile::tempdir().unwrap();
    for text in ["Include config\n", "Include config config\n"] {
        write(&home.path().join(".ssh/config"), text);
        let error = read_all(home.path(), true).unwrap_err().to_string();
        assert!(error.contains("too many files"), "{error}");
    }
}

#[test]
fn a_line_that_is_not_utf8_is_an_error_unless_it_is_a_comment() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join(".ssh/config");
    write(&config, "");
    std::fs::write(&config, b"# \xe9\n  #\xff\nPort 2\n").unwrap();
    assert_eq!(read_all(home.path(), true).unwrap(), ["2"]);
    std::fs::write(&config, b"Port 2\nUser \xe9\n").unwrap();
    let error = read_all(home.path(), true).unwrap_err().to_string();
    assert!(error.contains("config:2: the line is not UTF-8"), "{error}");
}

#[test]
fn what_is_no_file_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join(".ssh/config")).unwrap();
    assert!(read_all(home.path(), true).is_err());
}
