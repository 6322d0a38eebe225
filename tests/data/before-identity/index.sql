BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0008');
CREATE TABLE claim (
	sop_instance_uid TEXT NOT NULL, 
	owner TEXT NOT NULL, 
	until BIGINT NOT NULL, 
	PRIMARY KEY (sop_instance_uid)
);
CREATE TABLE commitment (
	id INTEGER NOT NULL, 
	transaction_uid TEXT NOT NULL, 
	calling_aet TEXT NOT NULL, 
	body TEXT NOT NULL, 
	received_at DATETIME NOT NULL, 
	due DATETIME NOT NULL, 
	holder TEXT DEFAULT '' NOT NULL, 
	duplicate BOOLEAN DEFAULT 0 NOT NULL, 
	attempts INTEGER DEFAULT 0 NOT NULL, 
	fault TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE instance (
	id INTEGER NOT NULL, 
	parent INTEGER NOT NULL, 
	sop_instance_uid TEXT DEFAULT '' NOT NULL, 
	sop_class_uid TEXT DEFAULT '' NOT NULL, 
	instance_number TEXT DEFAULT '' NOT NULL, 
	instance_number_key TEXT DEFAULT '' NOT NULL, 
	instance_creation_date TEXT DEFAULT '' NOT NULL, 
	instance_creation_date_key TEXT DEFAULT '' NOT NULL, 
	instance_creation_time TEXT DEFAULT '' NOT NULL, 
	instance_creation_time_key TEXT DEFAULT '' NOT NULL, 
	content_date TEXT DEFAULT '' NOT NULL, 
	content_date_key TEXT DEFAULT '' NOT NULL, 
	content_time TEXT DEFAULT '' NOT NULL, 
	content_time_key TEXT DEFAULT '' NOT NULL, 
	acquisition_date TEXT DEFAULT '' NOT NULL, 
	acquisition_date_key TEXT DEFAULT '' NOT NULL, 
	acquisition_time TEXT DEFAULT '' NOT NULL, 
	acquisition_time_key TEXT DEFAULT '' NOT NULL, 
	acquisition_date_time TEXT DEFAULT '' NOT NULL, 
	acquisition_date_time_key TEXT DEFAULT '' NOT NULL, 
	acquisition_number TEXT DEFAULT '' NOT NULL, 
	acquisition_number_key TEXT DEFAULT '' NOT NULL, 
	image_type TEXT DEFAULT '' NOT NULL, 
	image_comments TEXT DEFAULT '' NOT NULL, 
	image_laterality TEXT DEFAULT '' NOT NULL, 
	view_position TEXT DEFAULT '' NOT NULL, 
	number_of_frames TEXT DEFAULT '' NOT NULL, 
	number_of_frames_key TEXT DEFAULT '' NOT NULL, 
	rows TEXT DEFAULT '' NOT NULL, 
	columns TEXT DEFAULT '' NOT NULL, 
	samples_per_pixel TEXT DEFAULT '' NOT NULL, 
	photometric_interpretation TEXT DEFAULT '' NOT NULL, 
	bits_allocated TEXT DEFAULT '' NOT NULL, 
	bits_stored TEXT DEFAULT '' NOT NULL, 
	pixel_representation TEXT DEFAULT '' NOT NULL, 
	window_center TEXT DEFAULT '' NOT NULL, 
	window_width TEXT DEFAULT '' NOT NULL, 
	slice_thickness TEXT DEFAULT '' NOT NULL, 
	slice_location TEXT DEFAULT '' NOT NULL, 
	content_label TEXT DEFAULT '' NOT NULL, 
	content_description TEXT DEFAULT '' NOT NULL, 
	content_creator_name TEXT DEFAULT '' NOT NULL, 
	content_creator_name_alphabetic TEXT DEFAULT '' NOT NULL, 
	content_creator_name_ideographic TEXT DEFAULT '' NOT NULL, 
	content_creator_name_phonetic TEXT DEFAULT '' NOT NULL, 
	presentation_creation_date TEXT DEFAULT '' NOT NULL, 
	presentation_creation_date_key TEXT DEFAULT '' NOT NULL, 
	presentation_creation_time TEXT DEFAULT '' NOT NULL, 
	presentation_creation_time_key TEXT DEFAULT '' NOT NULL, 
	completion_flag TEXT DEFAULT '' NOT NULL, 
	verification_flag TEXT DEFAULT '' NOT NULL, 
	document_title TEXT DEFAULT '' NOT NULL, 
	study_instance_uid TEXT NOT NULL, 
	series_instance_uid TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	form TEXT NOT NULL, 
	transfer_syntax TEXT NOT NULL, 
	stored_size BIGINT NOT NULL, 
	stored_sha256 TEXT NOT NULL, 
	received_transfer_syntax TEXT NOT NULL, 
	received_size BIGINT NOT NULL, 
	received_sha256 TEXT NOT NULL, 
	received_at DATETIME NOT NULL, 
	calling_aet TEXT NOT NULL, 
	rule TEXT NOT NULL, 
	readable BOOLEAN DEFAULT 1 NOT NULL, pending BOOLEAN DEFAULT 0 NOT NULL, stage TEXT DEFAULT '' NOT NULL, outcome TEXT DEFAULT '' NOT NULL, planned TEXT DEFAULT '' NOT NULL, due BIGINT DEFAULT '0' NOT NULL, accessed BIGINT DEFAULT '0' NOT NULL, checked BIGINT DEFAULT '0' NOT NULL, fault TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT fk_instance_parent FOREIGN KEY(parent) REFERENCES series (id)
);
INSERT INTO "instance" VALUES(1,1,'1.2.826.0.1.3680043.8.498.7777.14771.864248315','1.2.840.10008.5.1.4.1.1.7','0','0','','','','','','','','','','','','','','','','','','','','','','','4','4','1','MONOCHROME2','8','8','0','','','','','','','','','','','','','','','','','','1.2.826.0.1.3680043.8.498.7777.14771.864248314','1.2.826.0.1.3680043.8.498.7777.14771.864248316','55/c1/1.2.826.0.1.3680043.8.498.7777.14771.864248314/1.2.826.0.1.3680043.8.498.7777.14771.864248315_48bea49de119564b.received.dcm','received','1.2.840.10008.1.2.1',1338,'4b86f8674bc9608ef3332264a9b3c406c60e0bffc525175311b01aba298941c1','1.2.840.10008.1.2.1',420,'48bea49de119564b5198338109e48523cd5bc13361495a829f42829a4ff84c2c','2026-11-28 14:10:15.691851','','everything else',1,0,'1c3b00da7118','','cb5f1752ddae',253402300800,0,1795875015,'');
INSERT INTO "instance" VALUES(2,2,'1.2.826.0.1.3680043.8.498.7777.14771.864248319','1.2.840.10008.5.1.4.1.1.7','2','2','','','','','','','','','','','','','','','','','','','','','','','4','4','1','MONOCHROME2','8','8','0','','','','','','','','','','','','','','','','','','1.2.826.0.1.3680043.8.498.7777.14771.864248314','1.2.826.0.1.3680043.8.498.7777.14771.864248320','55/c1/1.2.826.0.1.3680043.8.498.7777.14771.864248314/1.2.826.0.1.3680043.8.498.7777.14771.864248319_ca82e0fc610a71e1.received.dcm','received','1.2.840.10008.1.2.1',1338,'51bf21a37402508d999c2c77a4b706987c6e6d638cad498d98753140a7ea817b','1.2.840.10008.1.2.1',420,'ca82e0fc610a71e1c2a72891fd1bf35ef33ffbb540cf9476be09bc620d87b418','2026-11-28 14:10:20.288446','','everything else',1,0,'1c3b00da7118','','cb5f1752ddae',253402300800,0,1795875020,'');
INSERT INTO "instance" VALUES(3,3,'1.2.826.0.1.3680043.8.498.7777.14771.864248317','1.2.840.10008.5.1.4.1.1.7','1','1','','','','','','','','','','','','','','','','','','','','','','','4','4','1','MONOCHROME2','8','8','0','','','','','','','','','','','','','','','','','','1.2.826.0.1.3680043.8.498.7777.14771.864248314','1.2.826.0.1.3680043.8.498.7777.14771.864248318','55/c1/1.2.826.0.1.3680043.8.498.7777.14771.864248314/1.2.826.0.1.3680043.8.498.7777.14771.864248317_a6e38638d1715b20.received.dcm','received','1.2.840.10008.1.2.1',1338,'a7aba076ff2327bc6c4a09e6e1a601cfcae38057fb78c8e8f9cdde813df2238b','1.2.840.10008.1.2.1',420,'a6e38638d1715b209d17adc7a322a279ba251860b105b3c5cc94f77b18257149','2026-11-28 14:10:24.496474','','everything else',1,0,'1c3b00da7118','','cb5f1752ddae',253402300800,0,1795875024,'');
INSERT INTO "instance" VALUES(4,4,'1.2.826.0.1.3680043.8.498.7777.5871.863928541','1.2.840.10008.5.1.4.1.1.7','1','1','','','','','','','','','','','','','','','','','','','','','','','4','4','1','MONOCHROME2','8','8','0','','','','','','','','','','','','','','','','','','1.2.826.0.1.3680043.8.498.7777.5871.863928542','1.2.826.0.1.3680043.8.498.7777.5871.863928543','c2/b1/1.2.826.0.1.3680043.8.498.7777.5871.863928542/1.2.826.0.1.3680043.8.498.7777.5871.863928541_d04cfe19415f9b15.received.dcm','received','1.2.840.10008.1.2.1',1364,'cb08a895d85076695aadbd15a3af7c6d54053795d64d262a53c3e8c0001b19b6','1.2.840.10008.1.2.1',446,'d04cfe19415f9b1572502907b84cdd8b070d2889d8ec488bda15c7316b346978','2026-11-28 14:10:28.867786','','everything else',1,0,'1c3b00da7118','','cb5f1752ddae',253402300800,0,1795875028,'');
INSERT INTO "instance" VALUES(5,5,'1.2.826.0.1.3680043.8.498.7777.5871.863928544','1.2.840.10008.5.1.4.1.1.7','1','1','','','','','','','','','','','','','','','','','','','','','','','4','4','1','MONOCHROME2','8','8','0','','','','','','','','','','','','','','','','','','1.2.826.0.1.3680043.8.498.7777.5871.863928545','1.2.826.0.1.3680043.8.498.7777.5871.863928546','7e/d9/1.2.826.0.1.3680043.8.498.7777.5871.863928545/1.2.826.0.1.3680043.8.498.7777.5871.863928544_422401b783f17835.received.dcm','received','1.2.840.10008.1.2.1',1364,'f7440367dfa4d285791dd8433f5041a388ff522442ff718e53a1ecc601c40631','1.2.840.10008.1.2.1',446,'422401b783f17835ba5232c67fe484021c619167edfd0a532e33d28e891e139c','2026-11-28 14:10:33.791806','','everything else',1,0,'1c3b00da7118','','cb5f1752ddae',253402300800,0,1795875033,'');
INSERT INTO "instance" VALUES(6,2,'1.2.826.0.1.3680043.8.498.7777.14771.8642483191','1.2.840.10008.5.1.4.1.1.7','2','2','','','','','','','','','','','','','','','','','','','','','','','4','4','1','MONOCHROME2','8','8','0','','','','','','','','','','','','','','','','','','1.2.826.0.1.3680043.8.498.7777.14771.864248314','1.2.826.0.1.3680043.8.498.7777.14771.864248320','55/c1/1.2.826.0.1.3680043.8.498.7777.14771.864248314/1.2.826.0.1.3680043.8.498.7777.14771.8642483191_bf783744a480c070.received.dcm','received','1.2.840.10008.1.2.1',1342,'681d1419e52754be4457bf8a5a6bdd10ecd967e1707a3d67f5a7dc837b4fa9be','1.2.840.10008.1.2.1',422,'bf783744a480c070ccd265ef636bdb3114081becf49561c1c678c22bfdc7a68c','2026-11-28 14:10:39.435776','','everything else',1,0,'1c3b00da7118','','cb5f1752ddae',253402300800,0,1795875039,'');
CREATE TABLE outgoing (
	id INTEGER NOT NULL, 
	sop_instance_uid TEXT NOT NULL, 
	destination TEXT NOT NULL, 
	rule TEXT NOT NULL, 
	queued_at DATETIME NOT NULL, 
	due DATETIME NOT NULL, 
	priority INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	holder TEXT DEFAULT '' NOT NULL, 
	attempts INTEGER DEFAULT 0 NOT NULL, 
	fault TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE patient (
	id INTEGER NOT NULL, 
	patient_id TEXT, 
	issuer_of_patient_id TEXT DEFAULT '' NOT NULL, 
	patient_name TEXT DEFAULT '' NOT NULL, 
	patient_name_alphabetic TEXT DEFAULT '' NOT NULL, 
	patient_name_ideographic TEXT DEFAULT '' NOT NULL, 
	patient_name_phonetic TEXT DEFAULT '' NOT NULL, 
	patient_birth_date TEXT DEFAULT '' NOT NULL, 
	patient_birth_date_key TEXT DEFAULT '' NOT NULL, 
	patient_birth_time TEXT DEFAULT '' NOT NULL, 
	patient_birth_time_key TEXT DEFAULT '' NOT NULL, 
	patient_sex TEXT DEFAULT '' NOT NULL, 
	other_patient_ids TEXT DEFAULT '' NOT NULL, 
	ethnic_group TEXT DEFAULT '' NOT NULL, 
	patient_comments TEXT DEFAULT '' NOT NULL, 
	patient_species_description TEXT DEFAULT '' NOT NULL, 
	responsible_person TEXT DEFAULT '' NOT NULL, 
	responsible_person_alphabetic TEXT DEFAULT '' NOT NULL, 
	responsible_person_ideographic TEXT DEFAULT '' NOT NULL, 
	responsible_person_phonetic TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "patient" VALUES(4,'1','','Beta^Bruno','beta^bruno','','','19800202','19800202','','','M','','','','','','','','');
INSERT INTO "patient" VALUES(5,'B2','','Beta^Bruno','beta^bruno','','','','','','','','','','','','','','','');
CREATE TABLE series (
	id INTEGER NOT NULL, 
	parent INTEGER NOT NULL, 
	series_instance_uid TEXT, 
	modality TEXT DEFAULT '' NOT NULL, 
	series_number TEXT DEFAULT '' NOT NULL, 
	series_number_key TEXT DEFAULT '' NOT NULL, 
	series_description TEXT DEFAULT '' NOT NULL, 
	series_date TEXT DEFAULT '' NOT NULL, 
	series_date_key TEXT DEFAULT '' NOT NULL, 
	series_time TEXT DEFAULT '' NOT NULL, 
	series_time_key TEXT DEFAULT '' NOT NULL, 
	body_part_examined TEXT DEFAULT '' NOT NULL, 
	laterality TEXT DEFAULT '' NOT NULL, 
	patient_position TEXT DEFAULT '' NOT NULL, 
	protocol_name TEXT DEFAULT '' NOT NULL, 
	performing_physician_name TEXT DEFAULT '' NOT NULL, 
	performing_physician_name_alphabetic TEXT DEFAULT '' NOT NULL, 
	performing_physician_name_ideographic TEXT DEFAULT '' NOT NULL, 
	performing_physician_name_phonetic TEXT DEFAULT '' NOT NULL, 
	operators_name TEXT DEFAULT '' NOT NULL, 
	operators_name_alphabetic TEXT DEFAULT '' NOT NULL, 
	operators_name_ideographic TEXT DEFAULT '' NOT NULL, 
	operators_name_phonetic TEXT DEFAULT '' NOT NULL, 
	manufacturer TEXT DEFAULT '' NOT NULL, 
	manufacturer_model_name TEXT DEFAULT '' NOT NULL, 
	device_serial_number TEXT DEFAULT '' NOT NULL, 
	station_name TEXT DEFAULT '' NOT NULL, 
	institution_name TEXT DEFAULT '' NOT NULL, 
	institutional_department_name TEXT DEFAULT '' NOT NULL, 
	frame_of_reference_uid TEXT DEFAULT '' NOT NULL, 
	performed_procedure_step_id TEXT DEFAULT '' NOT NULL, 
	performed_procedure_step_start_date TEXT DEFAULT '' NOT NULL, 
	performed_procedure_step_start_date_key TEXT DEFAULT '' NOT NULL, 
	performed_procedure_step_start_time TEXT DEFAULT '' NOT NULL, 
	performed_procedure_step_start_time_key TEXT DEFAULT '' NOT NULL, 
	performed_procedure_step_description TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT fk_series_parent FOREIGN KEY(parent) REFERENCES study (id)
);
INSERT INTO "series" VALUES(1,1,'1.2.826.0.1.3680043.8.498.7777.14771.864248316','OT','1','1','','','','','','','','','','','','','','','','','','','','','','','','','','','','','','');
INSERT INTO "series" VALUES(2,1,'1.2.826.0.1.3680043.8.498.7777.14771.864248320','OT','1','1','','','','','','','','','','','','','','','','','','','','','','','','','','','','','','');
INSERT INTO "series" VALUES(3,1,'1.2.826.0.1.3680043.8.498.7777.14771.864248318','OT','1','1','','','','','','','','','','','','','','','','','','','','','','','','','','','','','','');
INSERT INTO "series" VALUES(4,2,'1.2.826.0.1.3680043.8.498.7777.5871.863928543','OT','1','1','','','','','','','','','','','','','','','','','','','','','','','','','','','','','','');
INSERT INTO "series" VALUES(5,3,'1.2.826.0.1.3680043.8.498.7777.5871.863928546','OT','1','1','','','','','','','','','','','','','','','','','','','','','','','','','','','','','','');
CREATE TABLE study (
	id INTEGER NOT NULL, 
	parent INTEGER NOT NULL, 
	study_instance_uid TEXT, 
	study_date TEXT DEFAULT '' NOT NULL, 
	study_date_key TEXT DEFAULT '' NOT NULL, 
	study_time TEXT DEFAULT '' NOT NULL, 
	study_time_key TEXT DEFAULT '' NOT NULL, 
	accession_number TEXT DEFAULT '' NOT NULL, 
	study_id TEXT DEFAULT '' NOT NULL, 
	study_description TEXT DEFAULT '' NOT NULL, 
	referring_physician_name TEXT DEFAULT '' NOT NULL, 
	referring_physician_name_alphabetic TEXT DEFAULT '' NOT NULL, 
	referring_physician_name_ideographic TEXT DEFAULT '' NOT NULL, 
	referring_physician_name_phonetic TEXT DEFAULT '' NOT NULL, 
	name_of_physicians_reading_study TEXT DEFAULT '' NOT NULL, 
	name_of_physicians_reading_study_alphabetic TEXT DEFAULT '' NOT NULL, 
	name_of_physicians_reading_study_ideographic TEXT DEFAULT '' NOT NULL, 
	name_of_physicians_reading_study_phonetic TEXT DEFAULT '' NOT NULL, 
	physicians_of_record TEXT DEFAULT '' NOT NULL, 
	physicians_of_record_alphabetic TEXT DEFAULT '' NOT NULL, 
	physicians_of_record_ideographic TEXT DEFAULT '' NOT NULL, 
	physicians_of_record_phonetic TEXT DEFAULT '' NOT NULL, 
	requesting_physician TEXT DEFAULT '' NOT NULL, 
	requesting_physician_alphabetic TEXT DEFAULT '' NOT NULL, 
	requesting_physician_ideographic TEXT DEFAULT '' NOT NULL, 
	requesting_physician_phonetic TEXT DEFAULT '' NOT NULL, 
	requested_procedure_description TEXT DEFAULT '' NOT NULL, 
	admitting_diagnoses_description TEXT DEFAULT '' NOT NULL, 
	admission_id TEXT DEFAULT '' NOT NULL, 
	patient_age TEXT DEFAULT '' NOT NULL, 
	patient_size TEXT DEFAULT '' NOT NULL, 
	patient_weight TEXT DEFAULT '' NOT NULL, 
	occupation TEXT DEFAULT '' NOT NULL, 
	additional_patient_history TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT fk_study_parent FOREIGN KEY(parent) REFERENCES patient (id)
);
INSERT INTO "study" VALUES(1,5,'1.2.826.0.1.3680043.8.498.7777.14771.864248314','20200101','20200101','120000','120000.000000','','1','','','','','','','','','','','','','','','','','','','','','','','','','');
INSERT INTO "study" VALUES(2,4,'1.2.826.0.1.3680043.8.498.7777.5871.863928542','20200101','20200101','120000','120000.000000','','1','','','','','','','','','','','','','','','','','','','','','','','','','');
INSERT INTO "study" VALUES(3,4,'1.2.826.0.1.3680043.8.498.7777.5871.863928545','20200101','20200101','120000','120000.000000','','1','','','','','','','','','','','','','','','','','','','','','','','','','');
CREATE INDEX ix_patient_name_alphabetic ON patient (patient_name_alphabetic);
CREATE INDEX ix_patient_name_ideographic ON patient (patient_name_ideographic);
CREATE INDEX ix_patient_name_phonetic ON patient (patient_name_phonetic);
CREATE UNIQUE INDEX ux_patient_id ON patient (patient_id, issuer_of_patient_id);
CREATE INDEX ix_study_accession_number ON study (accession_number);
CREATE INDEX ix_study_date ON study (study_date_key);
CREATE UNIQUE INDEX ux_study_instance_uid ON study (study_instance_uid);
CREATE UNIQUE INDEX ux_series_instance_uid ON series (series_instance_uid, parent);
CREATE INDEX ix_instance_parent ON instance (parent);
CREATE UNIQUE INDEX ux_sop_instance_uid ON instance (sop_instance_uid);
CREATE INDEX ix_instance_pending ON instance (id) WHERE pending;
CREATE INDEX ix_study_parent_date ON study (parent, study_date_key);
CREATE INDEX ix_series_parent_modality ON series (parent, modality);
CREATE INDEX ix_instance_due ON instance (planned, due) WHERE NOT pending;
CREATE INDEX ix_commitment_due ON commitment (due);
CREATE INDEX ix_commitment_transaction ON commitment (calling_aet, transaction_uid);
CREATE INDEX ix_instance_checked ON instance (checked);
CREATE INDEX ix_instance_damaged ON instance (id) WHERE fault <> '';
CREATE UNIQUE INDEX ux_outgoing ON outgoing (sop_instance_uid, destination);
CREATE INDEX ix_outgoing_due ON outgoing (state, due);
COMMIT;
