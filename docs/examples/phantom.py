"""Two small phantoms for docs/format.md: python phantom.py writes signed.dcm and colour.dcm."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ROOT = "2.25.271828182845904523536028747135266249"


def phantom(number, pixels, bits, signed, syntax):
    """A Secondary Capture of samples as (rows, columns), or (samples, rows, columns) by planes."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SECONDARY_CAPTURE, f"{ROOT}.1.1.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{ROOT}.1", f"{ROOT}.1.1"
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Phantom", "P1", "OT"
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 1
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = pixels.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = pixels.tobytes() + bytes(pixels.nbytes % 2)
    dataset["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def main():
    """Write both."""
    y, x = np.mgrid[:63, :65]
    slope = ((x * y) % 3000 - 1500).astype("<i2")
    phantom(1, slope, 12, True, ImplicitVRLittleEndian).save_as("signed.dcm", enforce_file_format=True)
    planes = np.stack([x * 3, y * 3, x + y]).astype("u1")
    phantom(2, planes, 8, False, ExplicitVRLittleEndian).save_as("colour.dcm", enforce_file_format=True)


if __name__ == "__main__":
    main()
