//! Secrets that stand in files of their own, as Docker and Kubernetes mount them.
//!
//! `password_file` is the path of a file whose content is what `password` would have been. The file
//! is read whenever a configuration is loaded, so that a rotated secret is taken by a reload.

use std::path::Path;

use figment::value::{Dict, Value};

use super::below;
use super::read::Reader;
use crate::Database;

/// A setting, and the key under which the path of its file stands.
type Setting = (&'static str, &'static str);

const OF_MONGODB: [Setting; 1] = [("uri", "uri_file")];
const OF_POSTGRES: [Setting; 2] = [("password", "password_file"), ("url", "url_file")];

const fn settings(database: Database) -> &'static [Setting] {
    match database {
        Database::Mongodb => &OF_MONGODB,
        Database::Postgresql => &OF_POSTGRES,
    }
}

/// Whether a table of `database` says where its server is.
pub(super) fn leads_somewhere(table: &Dict) -> bool {
    ["url", "url_file", "uri", "uri_file"]
        .iter()
        .any(|key| table.contains_key(*key))
}

/// Takes out of the defaults what a service has, in whichever of the two forms.
pub(super) fn give_way(under: &mut Dict, over: &Dict, database: Database) {
    for (key, file) in settings(database) {
        if over.contains_key(*key) || over.contains_key(*file) {
            under.remove(*key);
            under.remove(*file);
        }
    }
}

/// Puts the content of each file where the setting itself would stand.
pub(super) fn read(
    reader: &mut Reader<'_>,
    path: &[String],
    section: &mut Dict,
    database: Database,
) {
    for (key, file_key) in settings(database) {
        let Some(place) = section.remove(*file_key) else {
            continue;
        };
        let file_path = below(path, file_key);
        if let Some(value) = section.get(*key) {
            let both = [(below(path, key), value), (file_path, &place)];
            reader.note_all(&both, format!("want one of `{key}` and `{file_key}`"));
            continue;
        }
        let content = match place.as_str() {
            Some(file) => content(Path::new(file)).map_err(|error| format!("{file}: {error}")),
            None => Err("want the path of a file".to_owned()),
        };
        match content {
            Ok(content) => {
                let path = below(path, key);
                reader.stands_in_a_file(path, file_path);
                section.insert((*key).to_owned(), Value::String(place.tag(), content));
            }
            Err(message) => {
                reader.note(&file_path, &place, message);
                // It is not missing, and its mistake is told.
                reader.is_told(below(path, key));
            }
        }
    }
}

/// What stands in a file, without the line ends behind it. No part of it is in the error.
fn content(path: &Path) -> Result<String, String> {
    let mut content =
        std::fs::read_to_string(path).map_err(|error| format!("could not be read: {error}"))?;
    content.truncate(content.trim_end_matches(['\r', '\n']).len());
    if content.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use tempfile::TempDir;

    use crate::{ConfigSources, FactoryConfig};

    /// A folder of mounted secrets.
    struct Mount(TempDir);

    impl Mount {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
            let path = self.0.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.display().to_string()
        }
    }

    fn toml(text: &str) -> ConfigSources {
        FactoryConfig::sources().toml("the test", text)
    }

    #[track_caller]
    fn problems(sources: ConfigSources) -> Vec<String> {
        let error = sources.load().expect_err("a mistake was made");
        assert!(!error.to_string().contains("canary"), "{error}");
        error.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn secrets_are_read_from_their_files_at_every_load() {
        let mount = Mount::new();
        let password = mount.write("password", "0123 \n");
        let url = mount.write("url", "postgres://app@db.example/market\r\n");
        let uri = mount.write("uri", "mongodb://app:canary@db.example/market");
        let sources = toml("[services.a.postgres]\nmax_connections = 3")
            .variables(
                "POOLS_",
                [
                    ("POOLS_SERVICES__A__POSTGRES__PASSWORD_FILE", password),
                    ("POOLS_DEFAULTS__MONGODB__URI_FILE", uri),
                ],
            )
            .set("services.a.postgres.urlFile", url);
        let loaded = || {
            let config = sources.clone().load().unwrap();
            let service = &config.services["a"];
            let (postgres, mongodb) = (&service.postgres, &service.mongodb);
            let postgres = &postgres.as_ref().unwrap().pool;
            let mongodb = &mongodb.as_ref().expect("the defaults lead to one").pool;
            let secrets = [
                postgres.password.as_ref().unwrap(),
                &postgres.url,
                &mongodb.uri,
            ];
            secrets.map(|secret| secret.expose_secret().to_owned())
        };
        let [password, url, uri] = loaded();
        assert_eq!(
            password, "0123 ",
            "only the end of the line is no part of it"
        );
        assert_eq!(url, "postgres://app@db.example/market");
        assert_eq!(uri, "mongodb://app:canary@db.example/market");

        mount.write("password", "another\n\n");
        assert_eq!(loaded()[0], "another");
    }

    #[test]
    fn both_forms_together_are_told_with_both_places() {
        let mount = Mount::new();
        let file = mount.write("password", "canary");
        let sources = toml("[services.a.postgres]\nurl = 'postgres://h/d'\npassword = 'canary-1'")
            .set("services.a.postgres.password_file", &file)
            .server_urls(&[
                ("MONGODB_URL", "mongodb://h/d"),
                ("MONGODB_URL_FILE", file.as_str()),
            ]);
        let found = problems(sources);
        assert_eq!(found.len(), 2, "{found:#?}");
        let here = "`services.a.postgres.password_file` in the program at";
        assert!(
            found[0].starts_with("`services.a.postgres.password` in the test and ")
                && found[0].contains(here)
                && found[0].ends_with("want one of `password` and `password_file`"),
            "{found:#?}"
        );
        assert!(
            found[1].starts_with(
                "`MONGODB_URL` in the environment and `MONGODB_URL_FILE` in the environment: "
            ),
            "{found:#?}"
        );
    }

    #[test]
    fn what_a_service_has_takes_the_place_of_the_defaults_in_either_form() {
        let mount = Mount::new();
        let file = mount.write("url", "postgres://app@file.example/d");
        let config = toml(
            "[services.plain.postgres]\nurl = 'postgres://app@plain.example/d'\n[services.file]",
        )
        .server_urls(&[("POSTGRES_URL", "postgres://app@default.example/d")])
        .set("services.file.postgres.url_file", &file)
        .load()
        .unwrap();
        let config = |service: &str| {
            let settings = config.services[service].postgres.as_ref().unwrap();
            (settings.pool.servers().join(","), settings.origin.clone())
        };
        let (servers, origin) = config("file");
        assert_eq!(servers, "file.example:5432");
        assert!(
            origin.starts_with("`services.file.postgres.url_file` in the program at"),
            "{origin}"
        );
        assert_eq!(config("plain").0, "plain.example:5432");

        let config = toml("[services.a.postgres]\nurl = 'postgres://app@plain.example/d'")
            .server_urls(&[("POSTGRES_URL_FILE", file)])
            .load()
            .unwrap();
        let settings = config.services["a"].postgres.as_ref().unwrap();
        assert_eq!(settings.pool.servers(), ["plain.example:5432"]);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_its_setting() {
        let mount = Mount::new();
        let empty = mount.write("empty", "\n");
        let binary = mount.write("binary", [0xff, 0xfe, b'\n']);
        let wrong = mount.write("wrong", "postgres://u:canary@h:70000/d\n");
        let sources = toml("[services.number.mongodb]\nuri_file = 5")
            .set("services.empty.postgres.url_file", &empty)
            .set("services.binary.postgres.url_file", &binary)
            .set("services.gone.postgres.url", "postgres://h/d")
            .set("services.gone.postgres.password_file", "/no/such/file")
            .set("services.wrong.postgres.url_file", wrong);
        let found = problems(sources);
        let wanted = [
            (
                "`services.binary.postgres.url_file` in the program at",
                "UTF-8",
            ),
            (
                "`services.empty.postgres.url_file` in the program at",
                "is empty",
            ),
            (
                "`services.gone.postgres.password_file` in the program at",
                "/no/such/file: could not be read: No such file",
            ),
            (
                "`services.number.mongodb.uri_file` in the test",
                "want the path of a file",
            ),
            (
                "`services.wrong.postgres.url_file` in the program at",
                "url: not a URL: invalid port",
            ),
        ];
        assert_eq!(found.len(), wanted.len(), "{found:#?}");
        for (found, (place, reason)) in found.iter().zip(wanted) {
            assert!(
                found.starts_with(place) && found.contains(reason),
                "{found}"
            );
        }
        assert!(
            found[0].contains(&binary) && found[1].contains(&empty),
            "{found:#?}"
        );
    }
}
