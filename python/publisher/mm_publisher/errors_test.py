from __future__ import annotations

import pytest

from mm_publisher.errors import PublisherError, Refused, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ann:s3cret@mlflow.acme/api", "https://***@mlflow.acme/api"),
        ("https://s3cret@mlflow.acme", "https://***@mlflow.acme"),
        ("https://ann:s3@s3cret@mlflow.acme/a@b", "https://***@mlflow.acme/a@b"),
        (
            "GET /m?X-Amz-Credential=s3cret%2F1&X-Amz-Signature=s3cret&X-Amz-Security-Token=s3cret failed",
            "GET /m?X-Amz-Credential=***&X-Amz-Signature=***&X-Amz-Security-Token=*** failed",
        ),
        ("{'authorization': 'Bearer s3cret.s3cret'}", "{'authorization': 'Bearer ***"),
        ("Authorization: basic s3cret==", "Authorization: basic ***"),
        ("s3://bucket/a@b and models:/churn@champion", "s3://bucket/a@b and models:/churn@champion"),
    ],
    # Names of tests are printed.
    ids=["user and password", "user", "@ in a password", "signed query", "quoted header", "header", "nothing"],
)
def test_what_others_say_is_shown_without_secrets(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert str(PublisherError(text)) == shown
    assert "s3cret" not in str(Refused("no:", [text]))
    assert all("s3cret" not in problem for problem in Refused("no:", [text]).problems)


def test_each_kind_has_an_exit_status_of_its_own() -> None:
    statuses = [kind.exit_status for kind in PublisherError.__subclasses__()]
    assert sorted(statuses) == [2, 3, 4, 5, 6]


def test_an_error_shows_its_name_and_each_problem_in_a_notebook() -> None:
    shown = Refused("irises cannot be published:", ["<b>dims</b> differ", "s3://ann:s3cret@bucket"])._repr_html_()
    assert shown == (
        "<div><b>Refused: irises cannot be published:</b></div><div>  - &lt;b&gt;dims&lt;/b&gt; differ</div>"
        "<div>  - s3://***@bucket</div>"
    )
