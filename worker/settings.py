"""All that a process takes from outside: field `x` is the variable CRM_REFLEX_X.

A value comes from the first of: argument, environment, `.env`, TOML file (CRM_REFLEX_CONFIG_FILE,
else ./crm-reflex.toml), default. `python -m worker.settings` prints the table of the README.
"""

import ssl
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    FilePath,
    HttpUrl,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from integrations.facts import DEFAULT_TRAITS
from worker.settings_rules import (
    Currency,
    Horizons,
    Level,
    Names,
    ServerUrl,
    SigningSecret,
    Texts,
    TimeZone,
)
from worker.settings_sources import (
    ENV_FILE,
    PREFIX,
    Origin,
    SettingsError,
    Shown,
    origins,
    problems_of,
    shown,
    toml_path,
    variable,
)

DAY_S = 86_400


class Settings(BaseSettings):
    """Settings of one installation: frozen, strict about names, with secrets that do not print.

    Raises     SettingsError, whose lines name the variable and the rule but never the value
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )
    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)

    # servers
    redis_url: ServerUrl | None = Field(
        None, description="Redis or Valkey that holds the state; not set: an embedded server."
    )
    broker_url: ServerUrl | None = Field(
        None, description="Celery's broker; not set: the same server as the state."
    )
    redis_cluster: bool = Field(
        default=False, description="The state's server is a Cluster; needs a broker URL of its own."
    )
    redis_ca_file: FilePath | None = Field(
        None, description="CA certificates that a `rediss://` server is verified against."
    )
    data_dir: Path = Field(
        Path(".crm-reflex"), description="Folder of the embedded server and of model files."
    )
    snapshot_dir: Path | None = Field(
        None,
        description="Folder of index snapshots, the same for training and refresh workers;"
        " not set: `snapshots` in the data folder.",
    )
    snapshot_interval_s: int = Field(
        900, ge=10, description="Seconds between two snapshots of the index."
    )
    key_prefix: str = Field(
        "reflex",
        pattern=r"^[a-z0-9_-]{1,32}$",
        description="First part of every key: one prefix is one installation.",
    )
    shards: int = Field(
        64, ge=1, le=1024, description="Parts that customers are spread over; fixed at creation."
    )

    # meaning of events
    time_zone: TimeZone = Field("UTC", description="IANA time zone in which days begin and end.")
    reporting_currency: Currency = Field(
        "USD", description="ISO 4217 currency of forecasts and reports."
    )
    currency_rates_file: FilePath | None = Field(
        None,
        description="CSV or TOML file of exchange rates into it (docs/currencies.md);"
        " not set: money of other currencies abstains.",
    )
    currency_rate_max_age_days: int = Field(
        7, ge=0, le=366, description="Days that a rate counts after its day."
    )
    traits: Names = Field(
        tuple(sorted(DEFAULT_TRAITS)),
        description="Traits that are kept, comma-separated; others are dropped.",
    )
    event_max_bytes: int = Field(
        262_144, ge=1024, le=16_777_216, description="Largest event that is read, in bytes."
    )
    event_max_depth: int = Field(
        32, ge=4, le=128, description="Deepest nesting of an event that is read."
    )
    dedup_window_s: int = Field(
        30 * DAY_S, ge=60, description="Seconds that an event id is remembered against duplicates."
    )
    id_memory_max: int = Field(
        4096, ge=16, description="Most event ids remembered for one customer."
    )
    retention_s: int = Field(
        7 * DAY_S,
        ge=60,
        description="Seconds that applied events stay in their stream; above 60 % of memory, none.",
    )

    # ingest
    ingest_batch: int = Field(250, ge=1, le=1000, description="Events in one commit.")
    ingest_concurrency: int = Field(1, ge=1, le=64, description="Processes of the ingest worker.")
    pump_nap_ms: int = Field(
        50, ge=1, le=10_000, description="Milliseconds that an idle pump sleeps between looks."
    )
    pump_budget_s: float = Field(
        2.0, gt=0, le=30, description="Seconds that a pump task works before it queues itself anew."
    )
    lease_s: float = Field(
        6.0, gt=0, le=300, description="Seconds that a worker holds a shard without renewing."
    )
    backfill_window: int = Field(
        2000, ge=1, description="Most unapplied events that a backfill keeps in one shard."
    )
    lag_limit: int = Field(
        100_000, ge=1, description="Unapplied events above which new ones are refused."
    )
    memory_limit_ratio: float = Field(
        0.7, gt=0, lt=1, description="Share of `maxmemory` above which new events are refused."
    )

    # refresh and training
    refresh_batch: int = Field(200, ge=1, le=1000, description="Customers refreshed together.")
    refresh_concurrency: int = Field(1, ge=1, le=64, description="Processes of the refresh worker.")
    refresh_interval_s: int = Field(
        DAY_S, ge=60, description="Seconds after which a customer without events is refreshed."
    )
    rescore_per_s: float = Field(
        200.0, gt=0, le=100_000, description="Customers a second that a new model scores anew."
    )
    model_pushes_per_hour: int = Field(
        20_000,
        ge=1,
        description="Customers that destinations are told of within an hour because of a new model"
        " alone.",
    )
    push_probability: float = Field(
        0.06, ge=0, le=1, description="A probability that moved further is told to destinations."
    )
    push_relative: float = Field(
        0.25, ge=0, le=10, description="Part of expected orders and money that counts as moved."
    )
    push_days: int = Field(
        7,
        ge=0,
        le=366,
        description="Days by which an expected date has to move, or the width of its window where"
        " that is more.",
    )
    similar_customers: int = Field(10, ge=1, le=100, description="Similar customers in an insight.")
    similarity: Literal["cosine", "pearson", "euclidean"] = Field(
        "cosine",
        description="How alike customers are, in lists and among similar customers: from the next"
        " training of recommendations on. By another than the cosine, an event reaches only the"
        " lists of those nearest to its customer within seconds, others by the daily look.",
    )
    recommendations: int = Field(
        10, ge=1, le=100, description="Items in each list of recommendations."
    )
    service_items: Texts = Field(
        (),
        description="Items that are no products (postage, fees, discounts), comma-separated;"
        " * and ? stand for any characters.",
    )
    exclude_items: Texts = Field((), description="Items that are never recommended.")
    allow_categories: Texts = Field(
        (), description="Only items of these categories, and below, are recommended; none = all."
    )
    deny_categories: Texts = Field(
        (), description="Items of these categories, and below, are never recommended."
    )
    least_price: Decimal | None = Field(
        None, ge=0, description="Least price of a recommended item, in the reporting currency."
    )
    most_price: Decimal | None = Field(
        None, ge=0, description="Highest price of a recommended item."
    )
    least_margin: float | None = Field(
        None, lt=1, description="Least (price - cost) / price of a recommended item."
    )
    item_share: float = Field(
        1.0, gt=0, le=1, description="Share of the customers that one item may be recommended to."
    )
    most_per_category: int = Field(
        0, ge=0, description="Most items of one category in a list; 0 = no bound."
    )
    click_days: float = Field(
        7.0, gt=0, description="A click counts for a recommendation so long after it was shown."
    )
    purchase_days: float = Field(
        7.0,
        gt=0,
        description="A purchase counts for a recommendation so long after it was clicked.",
    )
    view_hours: float = Field(
        24.0, gt=0, description="A purchase counts so long after a recommendation was only seen."
    )
    holdout_share: float = Field(
        0.05, ge=0, lt=1, description="Share of customers that get no recommendations, to compare."
    )
    holdout_salt: str = Field("holdout", description="Another salt holds out other customers.")
    discount_rate_year: float = Field(
        0.10, ge=0, lt=1, description="Yearly discount rate of the customer lifetime value."
    )
    segment_algorithm: Literal[
        "auto", "kmeans", "minibatch", "gaussian_mixture", "agnes", "dbscan", "rfm_rules"
    ] = Field("auto", description="How trainings divide the customers; auto: by what it is worth.")
    segment_count: int = Field(
        0, ge=0, le=50, description="Number of segments; 0: by what it is worth, from 5 to 8."
    )
    segment_height: float | None = Field(
        None, gt=0, description="Height at which agnes cuts its tree; not set: into the number."
    )
    segment_patience: float = Field(
        1.47,
        ge=0,
        description="How much worse a segment may become before its customer moves; 0: at once.",
    )
    segment_margin: float = Field(
        0.0, ge=0, lt=1, description="Share by which another segment has to be nearer."
    )
    segment_dwell_days: int = Field(
        0, ge=0, description="Days that another segment has to be nearer; 0: none."
    )
    forecast_horizons_days: Horizons = Field(
        (), description="Days of forecasts beside 30 and 90, comma-separated; up to 4, up to 365."
    )
    min_customers_to_train: int = Field(
        30,
        ge=1,
        description="Customers with an order below which no segments and recommendations are"
        " trained; forecasts from 10.",
    )
    training_lease_s: float = Field(
        60.0, ge=1, description="Seconds after which a training whose trainer ended begins anew."
    )
    retrain_interval_s: int = Field(28 * DAY_S, ge=60, description="Seconds between two trainings.")
    retrain_cooldown_s: int = Field(
        3_600, ge=0, description="Least seconds between trainings of a model that nobody asked for."
    )
    retrain_daily_cap: int = Field(
        6, ge=0, description="New versions of a model within a day that stop such trainings."
    )
    promotion: Literal["automatic", "manual"] = Field(
        "automatic", description="Who makes a new version live that the gate lets pass."
    )
    shadow_days: int = Field(
        0, ge=0, description="Days that a new version scores beside the live one first; 0: none."
    )
    shadow_events: int = Field(
        0, ge=0, description="Applied events that end this sooner, or alone; 0: they do not."
    )
    model_storage: str = Field(
        "redis",
        min_length=1,
        description="Where model versions are kept: `redis`, a folder, or a URL of fsspec.",
    )
    model_signing_key: SecretStr | None = Field(
        None,
        min_length=16,
        description="Key that model versions are signed with; set: others are refused.",
    )

    # delivery
    destinations_file: FilePath | None = Field(
        None, description="TOML or YAML file of destinations; see docs/destinations.md."
    )
    webhook_url: HttpUrl | None = Field(
        None, description="Endpoint that insights are sent to; not set: nothing is sent."
    )
    webhook_secret: SigningSecret | None = Field(
        None, description="Signing secret of that endpoint, `whsec_...` (Standard Webhooks)."
    )
    webhook_timeout_s: float = Field(
        15.0, gt=0, le=60, description="Total seconds that one delivery attempt may take."
    )
    webhook_concurrency: int = Field(8, ge=1, le=64, description="Deliveries under way at once.")
    webhook_allow_private: bool = Field(
        default=False,
        description="Allow plain HTTP and private addresses: for tests and intranets.",
    )
    deliver_concurrency: int = Field(1, ge=1, le=64, description="Processes of the deliver worker.")
    coalesce_s: float = Field(
        1.0, ge=0, description="Seconds between two deliveries about the same customer."
    )
    delivery_max_attempts: int = Field(
        12, ge=1, le=50, description="Attempts before an event is given up; insights never are."
    )

    # processes
    order_time_limit_s: int = Field(
        60, ge=10, le=3600, description="Seconds after which a running work order is killed."
    )
    tick_interval_s: float = Field(
        2.0, gt=0, le=60, description="Seconds between two looks for forgotten work."
    )
    watchdog_stall_s: float = Field(
        30.0, ge=1, description="Seconds without progress after which a worker with work restarts."
    )
    log_level: Level = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="console, json, or auto: console on a terminal, else json."
    )

    def __init__(self, **values: Any) -> None:
        found = origins(type(self).model_fields, values)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(problems_of(error)) from None
        self._origins = found

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the signature of the base
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  same
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Argument, environment, `.env` (lines of others are none of ours), TOML file."""
        dotenv = DotEnvSettingsSource(settings_cls, dotenv_filtering="only_existing")
        toml = TomlConfigSettingsSource(settings_cls, toml_file=toml_path())
        return init_settings, env_settings, dotenv, toml

    def masked(self) -> dict[str, Shown]:
        """Every setting by field name as it may be printed, with the origin of its value."""
        return {
            name: Shown(shown(getattr(self, name)), self._origins[name])
            for name in type(self).model_fields
        }

    def tls(self, url: str) -> Mapping[str, Any]:
        """Options of redis-py and kombu for `url`: verified TLS for `rediss://`, else nothing."""
        if urlsplit(url).scheme != "rediss":
            return {}
        ca = {"ssl_ca_certs": str(self.redis_ca_file)} if self.redis_ca_file else {}
        return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, **ca}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.redis_cluster and not (self.redis_url and self.broker_url):
            raise ValueError(
                f"{variable('redis_cluster')}: needs {variable('redis_url')} and a"
                f" {variable('broker_url')} of its own: Celery has no Cluster transport"
            )
        if self.segment_height is not None and self.segment_algorithm != "agnes":
            raise ValueError(
                f"{variable('segment_height')}: needs {variable('segment_algorithm')}=agnes"
            )
        if self.segment_count and self.segment_algorithm in {"dbscan", "rfm_rules"}:
            raise ValueError(
                f"{variable('segment_count')}: {self.segment_algorithm} finds its own number"
            )
        urls = [url.get_secret_value() for url in (self.redis_url, self.broker_url) if url]
        if self.redis_ca_file and not any(url.startswith("rediss://") for url in urls):
            raise ValueError(f"{variable('redis_ca_file')}: no URL is rediss://, TLS is off")
        if self.webhook_url is None:
            return self
        if self.webhook_secret is None:
            raise ValueError(f"{variable('webhook_url')}: needs {variable('webhook_secret')}")
        if self.webhook_url.username or self.webhook_url.password:
            raise ValueError(f"{variable('webhook_url')}: should hold no user name or password")
        if self.webhook_url.scheme != "https" and not self.webhook_allow_private:
            raise ValueError(
                f"{variable('webhook_url')}: should be https://"
                f" (or set {variable('webhook_allow_private')})"
            )
        return self


def table() -> str:
    """The settings as a markdown table: variable, default, description."""
    rows = [
        f"| `{variable(name)}` | {_default(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| Variable | Default | Meaning |", "| --- | --- | --- |", *rows])


def _default(value: object) -> str:
    return "not set" if value is None else f"`{shown(value)}`"


if __name__ == "__main__":
    print(table())  # noqa: T201  the command's result
