"""One LightningModule, one LightningDataModule, and the phase that joins them."""
