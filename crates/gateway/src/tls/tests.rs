use super::*;

use std::fs;

use rcgen::generate_simple_self_signed;

struct Folder {
    folder: tempfile::TempDir,
    files: TlsConfig,
    /// Of the last change: later by a second each time, however coarse the file system's clock is.
    time: SystemTime,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = TlsConfig {
            cert: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
            client_ca: None,
            client_certificate: ClientCertificateConfig::Optional,
        };
        let mut this = Self {
            folder,
            files,
            time: SystemTime::now(),
        };
        this.renew();
        this
    }

    fn write(&mut self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        self.time += Duration::from_secs(1);
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(self.time).unwrap();
    }

    fn renew(&mut self) {
        let pair = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        self.write("cert.pem", &pair.cert.pem());
        self.write("key.pem", &pair.signing_key.serialize_pem());
    }
}

#[test]
fn a_new_pair_is_taken_and_a_bad_one_is_not() {
    let mut folder = Folder::new();
    let certificate = Certificate::load(folder.files.clone()).unwrap();
    let first = certificate.current();
    certificate.reload_if_changed();
    assert!(Arc::ptr_eq(&first, &certificate.current()));

    folder.write("cert.pem", "no certificate");
    certificate.reload_if_changed();
    assert!(Arc::ptr_eq(&first, &certificate.current()));

    folder.renew();
    certificate.reload_if_changed();
    let second = certificate.current();
    assert!(!Arc::ptr_eq(&first, &second));

    // Half of a renewal: the old key does not belong to the new certificate.
    let other = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    folder.write("cert.pem", &other.cert.pem());
    certificate.reload_if_changed();
    assert!(Arc::ptr_eq(&second, &certificate.current()));
    folder.write("key.pem", &other.signing_key.serialize_pem());
    certificate.reload_if_changed();
    assert!(!Arc::ptr_eq(&second, &certificate.current()));
}

#[test]
fn what_is_wrong_with_the_files_is_said_of_the_key_it_belongs_to() {
    let mut folder = Folder::new();
    assert_eq!(problem(&folder.files), None);
    let of = |folder: &Folder| problem(&folder.files).unwrap();

    let swapped = TlsConfig {
        cert: folder.files.key.clone(),
        key: folder.files.cert.clone(),
        ..folder.files.clone()
    };
    let (key, message) = problem(&swapped).unwrap();
    assert_eq!(key, "cert");
    let expected = "has no certificate in it, but a private key: is it that of `server.tls.key`?";
    assert!(message.contains(expected), "{message}");
    let swapped = TlsConfig {
        cert: folder.files.cert.clone(),
        ..swapped
    };
    let (key, message) = problem(&swapped).unwrap();
    assert_eq!(key, "key");
    let expected = "has no private key in it, but a certificate: is it that of `server.tls.cert`?";
    assert!(message.contains(expected), "{message}");

    let other = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    folder.write("key.pem", &other.signing_key.serialize_pem());
    let (key, message) = of(&folder);
    assert_eq!(key, "key");
    assert!(message.contains("does not fit"), "{message}");

    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    folder.write("key.pem", encrypted);
    let (key, message) = of(&folder);
    assert_eq!(key, "key");
    assert!(message.contains("is encrypted"), "{message}");

    fs::remove_file(&folder.files.cert).unwrap();
    let (key, message) = of(&folder);
    assert_eq!(key, "cert");
    assert!(
        message.contains("cannot be read: entity not found"),
        "{message}"
    );
}

#[test]
fn files_without_a_pair_are_an_error_that_names_them() {
    let mut folder = Folder::new();
    folder.write("key.pem", "");
    let error = Certificate::load(folder.files.clone()).err().unwrap();
    assert!(error.to_string().contains("key.pem"), "{error}");
    folder.write("cert.pem", "");
    let error = Certificate::load(folder.files).err().unwrap();
    assert!(error.to_string().contains("cert.pem"), "{error}");
}
