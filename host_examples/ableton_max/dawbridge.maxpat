{
	"patcher": {
		"fileversion": 1,
		"appversion": {
			"major": 8,
			"minor": 5,
			"revision": 5,
			"architecture": "x64",
			"modernui": 1
		},
		"classnamespace": "box",
		"rect": [
			85.0,
			104.0,
			920.0,
			229.0
		],
		"bglocked": 0,
		"openinpresentation": 1,
		"default_fontsize": 12.0,
		"default_fontface": 0,
		"default_fontname": "Arial",
		"gridonopen": 1,
		"gridsize": [
			15.0,
			15.0
		],
		"gridsnaponopen": 1,
		"objectsnaponopen": 1,
		"statusbarvisible": 2,
		"toolbarvisible": 1,
		"lefttoolbarpinned": 0,
		"toptoolbarpinned": 0,
		"righttoolbarpinned": 0,
		"bottomtoolbarpinned": 0,
		"toolbars_unpinned_last_save": 0,
		"tallnewobj": 0,
		"boxanimatetime": 200,
		"enablehscroll": 1,
		"enablevscroll": 1,
		"devicewidth": 0.0,
		"description": "Generative music from daw-bridge",
		"digest": "",
		"tags": "daw-bridge",
		"style": "",
		"subpatcher_template": "",
		"assistshowspatchername": 0,
		"boxes": [
			{
				"box": {
					"id": "obj-1",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						20,
						32,
						260,
						22
					],
					"outlettype": [
						"",
						""
					],
					"text": "node.script dawbridge.js @autostart 1",
					"saved_object_attributes": {
						"autostart": 1,
						"defer": 0,
						"node_bin_path": "",
						"npm_bin_path": "",
						"watch": 0
					}
				}
			},
			{
				"box": {
					"id": "obj-2",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 13,
					"patching_rect": [
						294,
						32,
						720,
						22
					],
					"outlettype": [
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						""
					],
					"text": "route status connection sounding stream restore tell results record preview place answer event"
				}
			},
			{
				"box": {
					"id": "obj-3",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 0,
					"patching_rect": [
						1028,
						32,
						125,
						22
					],
					"text": "print dawbridge"
				}
			},
			{
				"box": {
					"id": "obj-4",
					"maxclass": "textedit",
					"numinlets": 1,
					"numoutlets": 4,
					"patching_rect": [
						20,
						66,
						128,
						46
					],
					"outlettype": [
						"",
						"int",
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						4.0,
						18.0,
						128.0,
						46.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_invisible": 1,
							"parameter_longname": "prompt1",
							"parameter_shortname": "prompt1",
							"parameter_type": 3
						}
					},
					"varname": "prompt1",
					"outputmode": 1,
					"keymode": 1,
					"fontsize": 10.0,
					"text": ""
				}
			},
			{
				"box": {
					"id": "obj-5",
					"maxclass": "newobj",
					"numinlets": 2,
					"numoutlets": 2,
					"patching_rect": [
						162,
						66,
						90,
						22
					],
					"outlettype": [
						"",
						""
					],
					"text": "route text"
				}
			},
			{
				"box": {
					"id": "obj-6",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						266,
						66,
						132,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend prompt 1"
				}
			},
			{
				"box": {
					"id": "obj-7",
					"maxclass": "live.dial",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						412,
						66,
						44,
						48
					],
					"outlettype": [
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						134.0,
						18.0,
						44.0,
						48.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "weight1",
							"parameter_exponent": 1.0,
							"parameter_info": "How much the words of slot 1 count, beside those of the others.",
							"parameter_initial": [
								1.0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "weight1",
							"parameter_mmax": 1.0,
							"parameter_mmin": 0.0,
							"parameter_modmode": 3,
							"parameter_shortname": "1",
							"parameter_type": 0,
							"parameter_unitstyle": 1
						}
					},
					"varname": "weight1"
				}
			},
			{
				"box": {
					"id": "obj-8",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						470,
						66,
						132,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend weight 1"
				}
			},
			{
				"box": {
					"id": "obj-9",
					"maxclass": "textedit",
					"numinlets": 1,
					"numoutlets": 4,
					"patching_rect": [
						20,
						126,
						128,
						46
					],
					"outlettype": [
						"",
						"int",
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						182.0,
						18.0,
						128.0,
						46.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_invisible": 1,
							"parameter_longname": "prompt2",
							"parameter_shortname": "prompt2",
							"parameter_type": 3
						}
					},
					"varname": "prompt2",
					"outputmode": 1,
					"keymode": 1,
					"fontsize": 10.0,
					"text": ""
				}
			},
			{
				"box": {
					"id": "obj-10",
					"maxclass": "newobj",
					"numinlets": 2,
					"numoutlets": 2,
					"patching_rect": [
						162,
						126,
						90,
						22
					],
					"outlettype": [
						"",
						""
					],
					"text": "route text"
				}
			},
			{
				"box": {
					"id": "obj-11",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						266,
						126,
						132,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend prompt 2"
				}
			},
			{
				"box": {
					"id": "obj-12",
					"maxclass": "live.dial",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						412,
						126,
						44,
						48
					],
					"outlettype": [
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						312.0,
						18.0,
						44.0,
						48.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "weight2",
							"parameter_exponent": 1.0,
							"parameter_info": "How much the words of slot 2 count, beside those of the others.",
							"parameter_initial": [
								1.0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "weight2",
							"parameter_mmax": 1.0,
							"parameter_mmin": 0.0,
							"parameter_modmode": 3,
							"parameter_shortname": "2",
							"parameter_type": 0,
							"parameter_unitstyle": 1
						}
					},
					"varname": "weight2"
				}
			},
			{
				"box": {
					"id": "obj-13",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						470,
						126,
						132,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend weight 2"
				}
			},
			{
				"box": {
					"id": "obj-14",
					"maxclass": "textedit",
					"numinlets": 1,
					"numoutlets": 4,
					"patching_rect": [
						20,
						186,
						128,
						46
					],
					"outlettype": [
						"",
						"int",
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						4.0,
						68.0,
						128.0,
						46.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_invisible": 1,
							"parameter_longname": "prompt3",
							"parameter_shortname": "prompt3",
							"parameter_type": 3
						}
					},
					"varname": "prompt3",
					"outputmode": 1,
					"keymode": 1,
					"fontsize": 10.0,
					"text": ""
				}
			},
			{
				"box": {
					"id": "obj-15",
					"maxclass": "newobj",
					"numinlets": 2,
					"numoutlets": 2,
					"patching_rect": [
						162,
						186,
						90,
						22
					],
					"outlettype": [
						"",
						""
					],
					"text": "route text"
				}
			},
			{
				"box": {
					"id": "obj-16",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						266,
						186,
						132,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend prompt 3"
				}
			},
			{
				"box": {
					"id": "obj-17",
					"maxclass": "live.dial",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						412,
						186,
						44,
						48
					],
					"outlettype": [
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						134.0,
						68.0,
						44.0,
						48.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "weight3",
							"parameter_exponent": 1.0,
							"parameter_info": "How much the words of slot 3 count, beside those of the others.",
							"parameter_initial": [
								1.0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "weight3",
							"parameter_mmax": 1.0,
							"parameter_mmin": 0.0,
							"parameter_modmode": 3,
							"parameter_shortname": "3",
							"parameter_type": 0,
							"parameter_unitstyle": 1
						}
					},
					"varname": "weight3"
				}
			},
			{
				"box": {
					"id": "obj-18",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						470,
						186,
						132,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend weight 3"
				}
			},
			{
				"box": {
					"id": "obj-19",
					"maxclass": "textedit",
					"numinlets": 1,
					"numoutlets": 4,
					"patching_rect": [
						20,
						246,
						128,
						46
					],
					"outlettype": [
						"",
						"int",
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						182.0,
						68.0,
						128.0,
						46.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_invisible": 1,
							"parameter_longname": "prompt4",
							"parameter_shortname": "prompt4",
							"parameter_type": 3
						}
					},
					"varname": "prompt4",
					"outputmode": 1,
					"keymode": 1,
					"fontsize": 10.0,
					"text": ""
				}
			},
			{
				"box": {
					"id": "obj-20",
					"maxclass": "newobj",
					"numinlets": 2,
					"numoutlets": 2,
					"patching_rect": [
						162,
						246,
						90,
						22
					],
					"outlettype": [
						"",
						""
					],
					"text": "route text"
				}
			},
			{
				"box": {
					"id": "obj-21",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						266,
						246,
						132,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend prompt 4"
				}
			},
			{
				"box": {
					"id": "obj-22",
					"maxclass": "live.dial",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						412,
						246,
						44,
						48
					],
					"outlettype": [
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						312.0,
						68.0,
						44.0,
						48.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "weight4",
							"parameter_exponent": 1.0,
							"parameter_info": "How much the words of slot 4 count, beside those of the others.",
							"parameter_initial": [
								1.0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "weight4",
							"parameter_mmax": 1.0,
							"parameter_mmin": 0.0,
							"parameter_modmode": 3,
							"parameter_shortname": "4",
							"parameter_type": 0,
							"parameter_unitstyle": 1
						}
					},
					"varname": "weight4"
				}
			},
			{
				"box": {
					"id": "obj-23",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						470,
						246,
						132,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend weight 4"
				}
			},
			{
				"box": {
					"id": "obj-24",
					"maxclass": "textedit",
					"numinlets": 1,
					"numoutlets": 4,
					"patching_rect": [
						20,
						306,
						128,
						46
					],
					"outlettype": [
						"",
						"int",
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						4.0,
						118.0,
						128.0,
						46.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_invisible": 1,
							"parameter_longname": "prompt5",
							"parameter_shortname": "prompt5",
							"parameter_type": 3
						}
					},
					"varname": "prompt5",
					"outputmode": 1,
					"keymode": 1,
					"fontsize": 10.0,
					"text": ""
				}
			},
			{
				"box": {
					"id": "obj-25",
					"maxclass": "newobj",
					"numinlets": 2,
					"numoutlets": 2,
					"patching_rect": [
						162,
						306,
						90,
						22
					],
					"outlettype": [
						"",
						""
					],
					"text": "route text"
				}
			},
			{
				"box": {
					"id": "obj-26",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						266,
						306,
						132,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend prompt 5"
				}
			},
			{
				"box": {
					"id": "obj-27",
					"maxclass": "live.dial",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						412,
						306,
						44,
						48
					],
					"outlettype": [
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						134.0,
						118.0,
						44.0,
						48.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "weight5",
							"parameter_exponent": 1.0,
							"parameter_info": "How much the words of slot 5 count, beside those of the others.",
							"parameter_initial": [
								1.0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "weight5",
							"parameter_mmax": 1.0,
							"parameter_mmin": 0.0,
							"parameter_modmode": 3,
							"parameter_shortname": "5",
							"parameter_type": 0,
							"parameter_unitstyle": 1
						}
					},
					"varname": "weight5"
				}
			},
			{
				"box": {
					"id": "obj-28",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						470,
						306,
						132,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend weight 5"
				}
			},
			{
				"box": {
					"id": "obj-29",
					"maxclass": "textedit",
					"numinlets": 1,
					"numoutlets": 4,
					"patching_rect": [
						20,
						366,
						128,
						46
					],
					"outlettype": [
						"",
						"int",
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						182.0,
						118.0,
						128.0,
						46.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_invisible": 1,
							"parameter_longname": "prompt6",
							"parameter_shortname": "prompt6",
							"parameter_type": 3
						}
					},
					"varname": "prompt6",
					"outputmode": 1,
					"keymode": 1,
					"fontsize": 10.0,
					"text": ""
				}
			},
			{
				"box": {
					"id": "obj-30",
					"maxclass": "newobj",
					"numinlets": 2,
					"numoutlets": 2,
					"patching_rect": [
						162,
						366,
						90,
						22
					],
					"outlettype": [
						"",
						""
					],
					"text": "route text"
				}
			},
			{
				"box": {
					"id": "obj-31",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						266,
						366,
						132,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend prompt 6"
				}
			},
			{
				"box": {
					"id": "obj-32",
					"maxclass": "live.dial",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						412,
						366,
						44,
						48
					],
					"outlettype": [
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						312.0,
						118.0,
						44.0,
						48.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "weight6",
							"parameter_exponent": 1.0,
							"parameter_info": "How much the words of slot 6 count, beside those of the others.",
							"parameter_initial": [
								1.0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "weight6",
							"parameter_mmax": 1.0,
							"parameter_mmin": 0.0,
							"parameter_modmode": 3,
							"parameter_shortname": "6",
							"parameter_type": 0,
							"parameter_unitstyle": 1
						}
					},
					"varname": "weight6"
				}
			},
			{
				"box": {
					"id": "obj-33",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						470,
						366,
						132,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend weight 6"
				}
			},
			{
				"box": {
					"id": "obj-34",
					"maxclass": "live.dial",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						616,
						366,
						42,
						48
					],
					"outlettype": [
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						360.0,
						18.0,
						42.0,
						48.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "temperature",
							"parameter_exponent": 1.0,
							"parameter_info": "Randomness of the choice of tokens; 0 is greedy.",
							"parameter_initial": [
								1.0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "temperature",
							"parameter_mmax": 4.0,
							"parameter_mmin": 0.0,
							"parameter_modmode": 3,
							"parameter_shortname": "temp",
							"parameter_type": 0,
							"parameter_unitstyle": 1
						}
					},
					"varname": "temperature"
				}
			},
			{
				"box": {
					"id": "obj-35",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						672,
						366,
						181,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set temperature"
				}
			},
			{
				"box": {
					"id": "obj-36",
					"maxclass": "live.dial",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						867,
						366,
						42,
						48
					],
					"outlettype": [
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						404.0,
						18.0,
						42.0,
						48.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "guidance",
							"parameter_exponent": 1.0,
							"parameter_info": "How strongly the words are followed (cfg_coef).",
							"parameter_initial": [
								3.0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "guidance",
							"parameter_mmax": 20.0,
							"parameter_mmin": 0.0,
							"parameter_modmode": 3,
							"parameter_shortname": "guide",
							"parameter_type": 0,
							"parameter_unitstyle": 1
						}
					},
					"varname": "guidance"
				}
			},
			{
				"box": {
					"id": "obj-37",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						923,
						366,
						160,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set guidance"
				}
			},
			{
				"box": {
					"id": "obj-38",
					"maxclass": "live.dial",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						1097,
						366,
						42,
						48
					],
					"outlettype": [
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						448.0,
						18.0,
						42.0,
						48.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "top_k",
							"parameter_exponent": 5.0,
							"parameter_info": "Sample among the k likeliest tokens; 0 for all.",
							"parameter_initial": [
								250.0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "top_k",
							"parameter_mmax": 65536.0,
							"parameter_mmin": 0.0,
							"parameter_modmode": 3,
							"parameter_shortname": "top k",
							"parameter_type": 0,
							"parameter_unitstyle": 0
						}
					},
					"varname": "top_k"
				}
			},
			{
				"box": {
					"id": "obj-39",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						20,
						426,
						139,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set top_k"
				}
			},
			{
				"box": {
					"id": "obj-40",
					"maxclass": "live.dial",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						173,
						426,
						42,
						48
					],
					"outlettype": [
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						360.0,
						68.0,
						42.0,
						48.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "top_p",
							"parameter_exponent": 1.0,
							"parameter_info": "Sample among the likeliest tokens up to this probability; 0 is off.",
							"parameter_initial": [
								0.0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "top_p",
							"parameter_mmax": 1.0,
							"parameter_mmin": 0.0,
							"parameter_modmode": 3,
							"parameter_shortname": "top p",
							"parameter_type": 0,
							"parameter_unitstyle": 1
						}
					},
					"varname": "top_p"
				}
			},
			{
				"box": {
					"id": "obj-41",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						229,
						426,
						139,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set top_p"
				}
			},
			{
				"box": {
					"id": "obj-42",
					"maxclass": "live.dial",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						382,
						426,
						42,
						48
					],
					"outlettype": [
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						404.0,
						68.0,
						42.0,
						48.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "bpm",
							"parameter_exponent": 1.0,
							"parameter_info": "Tempo, at least 20; 0 leaves it to the words. The beat of 6/8 and 12/8 is the dotted quarter.",
							"parameter_initial": [
								0.0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "bpm",
							"parameter_mmax": 300.0,
							"parameter_mmin": 0.0,
							"parameter_modmode": 3,
							"parameter_shortname": "bpm",
							"parameter_type": 0,
							"parameter_unitstyle": 9,
							"parameter_units": "%.1f bpm"
						}
					},
					"varname": "bpm"
				}
			},
			{
				"box": {
					"id": "obj-43",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						438,
						426,
						125,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set bpm"
				}
			},
			{
				"box": {
					"id": "obj-44",
					"maxclass": "live.dial",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						577,
						426,
						42,
						48
					],
					"outlettype": [
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						448.0,
						68.0,
						42.0,
						48.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "morph",
							"parameter_exponent": 4.0,
							"parameter_info": "Over how many beats prompts, guidance and temperature turn into the new ones, at 120 beats/min where no tempo is known; 0 for at once.",
							"parameter_initial": [
								0.0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "morph",
							"parameter_mmax": 1024.0,
							"parameter_mmin": 0.0,
							"parameter_modmode": 3,
							"parameter_shortname": "morph",
							"parameter_type": 0,
							"parameter_unitstyle": 9,
							"parameter_units": "%.0f beats"
						}
					},
					"varname": "morph"
				}
			},
			{
				"box": {
					"id": "obj-45",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						633,
						426,
						139,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set morph"
				}
			},
			{
				"box": {
					"id": "obj-46",
					"maxclass": "live.dial",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						786,
						426,
						42,
						48
					],
					"outlettype": [
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						360.0,
						118.0,
						42.0,
						48.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "level",
							"parameter_exponent": 1.0,
							"parameter_info": "Level of the playback.",
							"parameter_initial": [
								0.0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "level",
							"parameter_mmax": 12.0,
							"parameter_mmin": -120.0,
							"parameter_modmode": 3,
							"parameter_shortname": "level",
							"parameter_type": 0,
							"parameter_unitstyle": 4
						}
					},
					"varname": "level"
				}
			},
			{
				"box": {
					"id": "obj-47",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						842,
						426,
						139,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set level"
				}
			},
			{
				"box": {
					"id": "obj-48",
					"maxclass": "live.dial",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						995,
						426,
						42,
						48
					],
					"outlettype": [
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						404.0,
						118.0,
						42.0,
						48.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "duration",
							"parameter_exponent": 4.0,
							"parameter_info": "Length of the new material.",
							"parameter_initial": [
								15.0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "duration",
							"parameter_mmax": 3600.0,
							"parameter_mmin": 0.1,
							"parameter_modmode": 3,
							"parameter_shortname": "length",
							"parameter_type": 0,
							"parameter_unitstyle": 9,
							"parameter_units": "%.1f s"
						}
					},
					"varname": "duration"
				}
			},
			{
				"box": {
					"id": "obj-49",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						20,
						486,
						160,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set duration"
				}
			},
			{
				"box": {
					"id": "obj-50",
					"maxclass": "live.dial",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						194,
						486,
						42,
						48
					],
					"outlettype": [
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						448.0,
						118.0,
						42.0,
						48.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "latency",
							"parameter_exponent": 3.0,
							"parameter_info": "Audio kept ready; changes are heard this much later.",
							"parameter_initial": [
								0.5
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "latency",
							"parameter_mmax": 30.0,
							"parameter_mmin": 0.05,
							"parameter_modmode": 3,
							"parameter_shortname": "latency",
							"parameter_type": 0,
							"parameter_unitstyle": 9,
							"parameter_units": "%.1f s"
						}
					},
					"varname": "latency"
				}
			},
			{
				"box": {
					"id": "obj-51",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						250,
						486,
						153,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set latency"
				}
			},
			{
				"box": {
					"id": "obj-52",
					"maxclass": "comment",
					"numinlets": 1,
					"numoutlets": 0,
					"patching_rect": [
						417,
						486,
						86,
						16
					],
					"presentation": 1,
					"presentation_rect": [
						498.0,
						17.0,
						86.0,
						16.0
					],
					"text": "at",
					"fontsize": 9.5
				}
			},
			{
				"box": {
					"id": "obj-53",
					"maxclass": "live.menu",
					"numinlets": 1,
					"numoutlets": 3,
					"patching_rect": [
						517,
						486,
						86,
						15
					],
					"outlettype": [
						"",
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						498.0,
						32.0,
						86.0,
						15.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "at",
							"parameter_enum": [
								"bar",
								"beat",
								"now"
							],
							"parameter_info": "When it sounds: as soon as it can, or exactly on the next beat or bar line of the clock that it can keep.",
							"parameter_initial": [
								2
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "at",
							"parameter_mmax": 2,
							"parameter_modmode": 0,
							"parameter_shortname": "at",
							"parameter_type": 2
						}
					},
					"varname": "at"
				}
			},
			{
				"box": {
					"id": "obj-54",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						617,
						486,
						118,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set at"
				}
			},
			{
				"box": {
					"id": "obj-55",
					"maxclass": "comment",
					"numinlets": 1,
					"numoutlets": 0,
					"patching_rect": [
						749,
						486,
						86,
						16
					],
					"presentation": 1,
					"presentation_rect": [
						498.0,
						51.0,
						86.0,
						16.0
					],
					"text": "blend",
					"fontsize": 9.5
				}
			},
			{
				"box": {
					"id": "obj-56",
					"maxclass": "live.menu",
					"numinlets": 1,
					"numoutlets": 3,
					"patching_rect": [
						849,
						486,
						86,
						15
					],
					"outlettype": [
						"",
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						498.0,
						66.0,
						86.0,
						15.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "blend",
							"parameter_enum": [
								"embedding",
								"guidance"
							],
							"parameter_info": "How several prompts are joined, and old and new ones while they morph: embedding is one text in between, guidance lets each of them pull with its weight (a little more work for each).",
							"parameter_initial": [
								0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "blend",
							"parameter_mmax": 1,
							"parameter_modmode": 0,
							"parameter_shortname": "blend",
							"parameter_type": 2
						}
					},
					"varname": "blend"
				}
			},
			{
				"box": {
					"id": "obj-57",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						949,
						486,
						139,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set blend"
				}
			},
			{
				"box": {
					"id": "obj-58",
					"maxclass": "comment",
					"numinlets": 1,
					"numoutlets": 0,
					"patching_rect": [
						20,
						546,
						86,
						16
					],
					"presentation": 1,
					"presentation_rect": [
						498.0,
						85.0,
						86.0,
						16.0
					],
					"text": "key",
					"fontsize": 9.5
				}
			},
			{
				"box": {
					"id": "obj-59",
					"maxclass": "live.menu",
					"numinlets": 1,
					"numoutlets": 3,
					"patching_rect": [
						120,
						546,
						86,
						15
					],
					"outlettype": [
						"",
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						498.0,
						100.0,
						86.0,
						15.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_annotation_name": "key",
							"parameter_enum": [
								"by words",
								"C major",
								"Db major",
								"D major",
								"Eb major",
								"E major",
								"F major",
								"F# major",
								"G major",
								"Ab major",
								"A major",
								"Bb major",
								"B major",
								"C minor",
								"Db minor",
								"D minor",
								"Eb minor",
								"E minor",
								"F minor",
								"F# minor",
								"G minor",
								"Ab minor",
								"A minor",
								"Bb minor",
								"B minor"
							],
							"parameter_info": "Key, such as A minor, Bb major or F# dorian; empty leaves it to the words.",
							"parameter_initial": [
								0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "key",
							"parameter_mmax": 24,
							"parameter_modmode": 0,
							"parameter_shortname": "key",
							"parameter_type": 2
						}
					},
					"varname": "key"
				}
			},
			{
				"box": {
					"id": "obj-60",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						220,
						546,
						125,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set key"
				}
			},
			{
				"box": {
					"id": "obj-61",
					"maxclass": "comment",
					"numinlets": 1,
					"numoutlets": 0,
					"patching_rect": [
						359,
						546,
						120,
						16
					],
					"presentation": 1,
					"presentation_rect": [
						592.0,
						122.0,
						120.0,
						16.0
					],
					"text": "seed (-1: by chance)",
					"fontsize": 9.5
				}
			},
			{
				"box": {
					"id": "obj-62",
					"maxclass": "number",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						493,
						546,
						86,
						22
					],
					"outlettype": [
						"",
						"bang"
					],
					"presentation": 1,
					"presentation_rect": [
						592.0,
						138.0,
						86.0,
						22.0
					],
					"parameter_enable": 0,
					"minimum": -1,
					"maximum": 2147483647,
					"varname": "seed"
				}
			},
			{
				"box": {
					"id": "obj-63",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						593,
						546,
						132,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set seed"
				}
			},
			{
				"box": {
					"id": "obj-64",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						739,
						546,
						125,
						22
					],
					"outlettype": [
						""
					],
					"text": "loadmess set -1"
				}
			},
			{
				"box": {
					"id": "obj-65",
					"maxclass": "comment",
					"numinlets": 1,
					"numoutlets": 0,
					"patching_rect": [
						878,
						546,
						34,
						16
					],
					"presentation": 1,
					"presentation_rect": [
						740.0,
						147.0,
						34.0,
						16.0
					],
					"text": "port",
					"fontsize": 9.5
				}
			},
			{
				"box": {
					"id": "obj-66",
					"maxclass": "live.numbox",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						926,
						546,
						44,
						15
					],
					"outlettype": [
						"",
						"float"
					],
					"presentation": 1,
					"presentation_rect": [
						774.0,
						148.0,
						44.0,
						15.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_info": "UDP port of the bridge.",
							"parameter_initial": [
								7772.0
							],
							"parameter_initial_enable": 1,
							"parameter_invisible": 1,
							"parameter_longname": "port",
							"parameter_mmax": 65535.0,
							"parameter_mmin": 1.0,
							"parameter_shortname": "port",
							"parameter_type": 0,
							"parameter_unitstyle": 0
						}
					},
					"varname": "port"
				}
			},
			{
				"box": {
					"id": "obj-67",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						984,
						546,
						104,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend port"
				}
			},
			{
				"box": {
					"id": "obj-68",
					"maxclass": "live.text",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						1102,
						546,
						70,
						16
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						592.0,
						18.0,
						70.0,
						16.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_enum": [
								"off",
								"on"
							],
							"parameter_info": "Open a stream without an end, or another one in its place.",
							"parameter_longname": "open",
							"parameter_mmax": 1,
							"parameter_shortname": "open",
							"parameter_type": 2
						}
					},
					"varname": "open",
					"mode": 0,
					"text": "open",
					"texton": "open"
				}
			},
			{
				"box": {
					"id": "obj-69",
					"maxclass": "message",
					"numinlets": 2,
					"numoutlets": 1,
					"patching_rect": [
						20,
						580,
						48,
						22
					],
					"outlettype": [
						""
					],
					"text": "open"
				}
			},
			{
				"box": {
					"id": "obj-70",
					"maxclass": "live.text",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						82,
						580,
						70,
						16
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						664.0,
						18.0,
						70.0,
						16.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_enum": [
								"off",
								"on"
							],
							"parameter_info": "Fade this stream out.",
							"parameter_longname": "cancel",
							"parameter_mmax": 1,
							"parameter_shortname": "cancel",
							"parameter_type": 2
						}
					},
					"varname": "cancel",
					"mode": 0,
					"text": "cancel",
					"texton": "cancel"
				}
			},
			{
				"box": {
					"id": "obj-71",
					"maxclass": "message",
					"numinlets": 2,
					"numoutlets": 1,
					"patching_rect": [
						166,
						580,
						62,
						22
					],
					"outlettype": [
						""
					],
					"text": "cancel"
				}
			},
			{
				"box": {
					"id": "obj-72",
					"maxclass": "live.text",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						242,
						580,
						70,
						16
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						592.0,
						40.0,
						70.0,
						16.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_enum": [
								"off",
								"on"
							],
							"parameter_info": "Make a piece of the length that the dial says.",
							"parameter_longname": "play",
							"parameter_mmax": 1,
							"parameter_shortname": "play",
							"parameter_type": 2
						}
					},
					"varname": "play",
					"mode": 0,
					"text": "play",
					"texton": "play"
				}
			},
			{
				"box": {
					"id": "obj-73",
					"maxclass": "message",
					"numinlets": 2,
					"numoutlets": 1,
					"patching_rect": [
						326,
						580,
						48,
						22
					],
					"outlettype": [
						""
					],
					"text": "play"
				}
			},
			{
				"box": {
					"id": "obj-74",
					"maxclass": "live.text",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						388,
						580,
						70,
						16
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						664.0,
						40.0,
						70.0,
						16.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_enum": [
								"off",
								"on"
							],
							"parameter_info": "Fade out everything that the bridge plays, other clients' streams too.",
							"parameter_longname": "stop all",
							"parameter_mmax": 1,
							"parameter_shortname": "stop all",
							"parameter_type": 2
						}
					},
					"varname": "stop all",
					"mode": 0,
					"text": "stop all",
					"texton": "stop all"
				}
			},
			{
				"box": {
					"id": "obj-75",
					"maxclass": "message",
					"numinlets": 2,
					"numoutlets": 1,
					"patching_rect": [
						472,
						580,
						48,
						22
					],
					"outlettype": [
						""
					],
					"text": "stop"
				}
			},
			{
				"box": {
					"id": "obj-76",
					"maxclass": "live.text",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						534,
						580,
						70,
						16
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						592.0,
						62.0,
						70.0,
						16.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_enum": [
								"off",
								"on"
							],
							"parameter_info": "Go on from the chosen clip, file or recording.",
							"parameter_longname": "continue",
							"parameter_mmax": 1,
							"parameter_shortname": "continue",
							"parameter_type": 2
						}
					},
					"varname": "continue",
					"mode": 0,
					"text": "continue",
					"texton": "continue"
				}
			},
			{
				"box": {
					"id": "obj-77",
					"maxclass": "message",
					"numinlets": 2,
					"numoutlets": 1,
					"patching_rect": [
						618,
						580,
						76,
						22
					],
					"outlettype": [
						""
					],
					"text": "continue"
				}
			},
			{
				"box": {
					"id": "obj-78",
					"maxclass": "live.text",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						708,
						580,
						70,
						16
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						664.0,
						62.0,
						70.0,
						16.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_enum": [
								"off",
								"on"
							],
							"parameter_info": "Take the last change of the stream back.",
							"parameter_longname": "undo",
							"parameter_mmax": 1,
							"parameter_shortname": "undo",
							"parameter_type": 2
						}
					},
					"varname": "undo",
					"mode": 0,
					"text": "undo",
					"texton": "undo"
				}
			},
			{
				"box": {
					"id": "obj-79",
					"maxclass": "message",
					"numinlets": 2,
					"numoutlets": 1,
					"patching_rect": [
						792,
						580,
						48,
						22
					],
					"outlettype": [
						""
					],
					"text": "undo"
				}
			},
			{
				"box": {
					"id": "obj-80",
					"maxclass": "live.text",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						854,
						580,
						70,
						16
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						592.0,
						84.0,
						70.0,
						16.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_enum": [
								"off",
								"on"
							],
							"parameter_info": "Go back four bars.",
							"parameter_longname": "back 4 bars",
							"parameter_mmax": 1,
							"parameter_shortname": "back 4 bars",
							"parameter_type": 2
						}
					},
					"varname": "back 4 bars",
					"mode": 0,
					"text": "back 4 bars",
					"texton": "back 4 bars"
				}
			},
			{
				"box": {
					"id": "obj-81",
					"maxclass": "message",
					"numinlets": 2,
					"numoutlets": 1,
					"patching_rect": [
						938,
						580,
						76,
						22
					],
					"outlettype": [
						""
					],
					"text": "rewind 4"
				}
			},
			{
				"box": {
					"id": "obj-82",
					"maxclass": "live.text",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						1028,
						580,
						70,
						16
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						664.0,
						84.0,
						70.0,
						16.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_enum": [
								"off",
								"on"
							],
							"parameter_info": "Follow no melody any more.",
							"parameter_longname": "no melody",
							"parameter_mmax": 1,
							"parameter_shortname": "no melody",
							"parameter_type": 2
						}
					},
					"varname": "no melody",
					"mode": 0,
					"text": "no melody",
					"texton": "no melody"
				}
			},
			{
				"box": {
					"id": "obj-83",
					"maxclass": "message",
					"numinlets": 2,
					"numoutlets": 1,
					"patching_rect": [
						20,
						614,
						104,
						22
					],
					"outlettype": [
						""
					],
					"text": "melody_clear"
				}
			},
			{
				"box": {
					"id": "obj-84",
					"maxclass": "live.text",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						138,
						614,
						52,
						16
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						842.0,
						88.0,
						52.0,
						16.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_enum": [
								"off",
								"on"
							],
							"parameter_info": "Show the result in the file manager, to drag it from there.",
							"parameter_longname": "show",
							"parameter_mmax": 1,
							"parameter_shortname": "show",
							"parameter_type": 2
						}
					},
					"varname": "show",
					"mode": 0,
					"text": "show",
					"texton": "show"
				}
			},
			{
				"box": {
					"id": "obj-85",
					"maxclass": "message",
					"numinlets": 2,
					"numoutlets": 1,
					"patching_rect": [
						204,
						614,
						48,
						22
					],
					"outlettype": [
						""
					],
					"text": "show"
				}
			},
			{
				"box": {
					"id": "obj-86",
					"maxclass": "live.text",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						266,
						614,
						62,
						16
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						832.0,
						148.0,
						62.0,
						16.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_enum": [
								"off",
								"on"
							],
							"parameter_info": "Fetch the OSC library; once, after copying.",
							"parameter_longname": "npm install",
							"parameter_mmax": 1,
							"parameter_shortname": "npm install",
							"parameter_type": 2
						}
					},
					"varname": "npm install",
					"mode": 0,
					"text": "npm install",
					"texton": "npm install"
				}
			},
			{
				"box": {
					"id": "obj-87",
					"maxclass": "message",
					"numinlets": 2,
					"numoutlets": 1,
					"patching_rect": [
						342,
						614,
						146,
						22
					],
					"outlettype": [
						""
					],
					"text": "script npm install"
				}
			},
			{
				"box": {
					"id": "obj-88",
					"maxclass": "live.text",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						502,
						614,
						62,
						16
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						832.0,
						15.0,
						62.0,
						16.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_enum": [
								"off",
								"on"
							],
							"parameter_info": "Start the script, once its library is there.",
							"parameter_longname": "start",
							"parameter_mmax": 1,
							"parameter_shortname": "start",
							"parameter_type": 2
						}
					},
					"varname": "start",
					"mode": 0,
					"text": "start",
					"texton": "start"
				}
			},
			{
				"box": {
					"id": "obj-89",
					"maxclass": "message",
					"numinlets": 2,
					"numoutlets": 1,
					"patching_rect": [
						578,
						614,
						104,
						22
					],
					"outlettype": [
						""
					],
					"text": "script start"
				}
			},
			{
				"box": {
					"id": "obj-90",
					"maxclass": "live.text",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						696,
						614,
						42,
						15
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						498.0,
						134.0,
						42.0,
						15.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_enum": [
								"off",
								"on"
							],
							"parameter_info": "Write the live stream into the takes folder.",
							"parameter_initial": [
								0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "take",
							"parameter_mmax": 1,
							"parameter_shortname": "take",
							"parameter_type": 2
						}
					},
					"varname": "take",
					"mode": 1,
					"text": "take",
					"texton": "take"
				}
			},
			{
				"box": {
					"id": "obj-91",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						752,
						614,
						132,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set save"
				}
			},
			{
				"box": {
					"id": "obj-92",
					"maxclass": "newobj",
					"numinlets": 2,
					"numoutlets": 3,
					"patching_rect": [
						20,
						648,
						132,
						22
					],
					"outlettype": [
						"",
						"",
						""
					],
					"text": "route ready bang"
				}
			},
			{
				"box": {
					"id": "obj-93",
					"maxclass": "newobj",
					"numinlets": 2,
					"numoutlets": 5,
					"patching_rect": [
						166,
						648,
						111,
						22
					],
					"outlettype": [
						"dictionary",
						"",
						"",
						"",
						""
					],
					"text": "dict @embed 1",
					"parameter_enable": 0,
					"saved_object_attributes": {
						"embed": 1,
						"legacy": 0,
						"parameter_enable": 0,
						"parameter_mappable": 0
					}
				}
			},
			{
				"box": {
					"id": "obj-94",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						291,
						648,
						41,
						22
					],
					"outlettype": [
						"bang"
					],
					"text": "t b"
				}
			},
			{
				"box": {
					"id": "obj-95",
					"maxclass": "newobj",
					"numinlets": 2,
					"numoutlets": 2,
					"patching_rect": [
						346,
						648,
						132,
						22
					],
					"outlettype": [
						"",
						""
					],
					"text": "route dictionary"
				}
			},
			{
				"box": {
					"id": "obj-96",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						492,
						648,
						139,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend state max"
				}
			},
			{
				"box": {
					"id": "obj-97",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						645,
						648,
						41,
						22
					],
					"outlettype": [
						"bang"
					],
					"text": "t b"
				}
			},
			{
				"box": {
					"id": "obj-98",
					"maxclass": "message",
					"numinlets": 2,
					"numoutlets": 1,
					"patching_rect": [
						700,
						648,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "outputvalue"
				}
			},
			{
				"box": {
					"id": "obj-99",
					"maxclass": "newobj",
					"numinlets": 26,
					"numoutlets": 26,
					"patching_rect": [
						20,
						682,
						900,
						22
					],
					"outlettype": [
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						"",
						""
					],
					"text": "route prompt1 weight1 prompt2 weight2 prompt3 weight3 prompt4 weight4 prompt5 weight5 prompt6 weight6 temperature guidance top_k top_p bpm morph level duration latency at blend key seed"
				}
			},
			{
				"box": {
					"id": "obj-100",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						934,
						682,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-101",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						1045,
						682,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-102",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						20,
						716,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-103",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						131,
						716,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-104",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						242,
						716,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-105",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						353,
						716,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-106",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						464,
						716,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-107",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						575,
						716,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-108",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						686,
						716,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-109",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						797,
						716,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-110",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						908,
						716,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-111",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						1019,
						716,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-112",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						20,
						750,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-113",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						131,
						750,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-114",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						242,
						750,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-115",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						353,
						750,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-116",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						464,
						750,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-117",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						575,
						750,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-118",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						686,
						750,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-119",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						797,
						750,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-120",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						908,
						750,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-121",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						1019,
						750,
						118,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend symbol"
				}
			},
			{
				"box": {
					"id": "obj-122",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						20,
						784,
						118,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend symbol"
				}
			},
			{
				"box": {
					"id": "obj-123",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						152,
						784,
						118,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend symbol"
				}
			},
			{
				"box": {
					"id": "obj-124",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						284,
						784,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-125",
					"maxclass": "comment",
					"numinlets": 1,
					"numoutlets": 0,
					"patching_rect": [
						20,
						818,
						180,
						16
					],
					"presentation": 1,
					"presentation_rect": [
						4.0,
						2.0,
						180.0,
						16.0
					],
					"text": "prompts: Return sends them",
					"fontsize": 9.5
				}
			},
			{
				"box": {
					"id": "obj-126",
					"maxclass": "comment",
					"numinlets": 1,
					"numoutlets": 0,
					"patching_rect": [
						214,
						818,
						154,
						34
					],
					"presentation": 1,
					"presentation_rect": [
						740.0,
						34.0,
						154.0,
						34.0
					],
					"text": "not started",
					"fontsize": 9.5,
					"linecount": 2
				}
			},
			{
				"box": {
					"id": "obj-127",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						382,
						818,
						97,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend set"
				}
			},
			{
				"box": {
					"id": "obj-128",
					"maxclass": "led",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						493,
						818,
						14,
						14
					],
					"outlettype": [
						"int"
					],
					"presentation": 1,
					"presentation_rect": [
						740.0,
						16.0,
						14.0,
						14.0
					],
					"ignoreclick": 1
				}
			},
			{
				"box": {
					"id": "obj-129",
					"maxclass": "led",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						521,
						818,
						14,
						14
					],
					"outlettype": [
						"int"
					],
					"presentation": 1,
					"presentation_rect": [
						758.0,
						16.0,
						14.0,
						14.0
					],
					"ignoreclick": 1
				}
			},
			{
				"box": {
					"id": "obj-130",
					"maxclass": "number",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						549,
						818,
						50,
						22
					],
					"outlettype": [
						"",
						"bang"
					],
					"presentation": 1,
					"presentation_rect": [
						776.0,
						12.0,
						50.0,
						22.0
					],
					"ignoreclick": 1,
					"parameter_enable": 0
				}
			},
			{
				"box": {
					"id": "obj-131",
					"maxclass": "umenu",
					"numinlets": 1,
					"numoutlets": 3,
					"patching_rect": [
						613,
						818,
						154,
						20
					],
					"outlettype": [
						"int",
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						740.0,
						66.0,
						154.0,
						20.0
					],
					"items": [],
					"parameter_enable": 0
				}
			},
			{
				"box": {
					"id": "obj-132",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						781,
						818,
						118,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend result"
				}
			},
			{
				"box": {
					"id": "obj-133",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 0,
					"patching_rect": [
						913,
						818,
						146,
						22
					],
					"text": "s dawbridge-answer"
				}
			},
			{
				"box": {
					"id": "obj-134",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 0,
					"patching_rect": [
						20,
						864,
						139,
						22
					],
					"text": "s dawbridge-event"
				}
			},
			{
				"box": {
					"id": "obj-135",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						20,
						898,
						48,
						22
					],
					"outlettype": [
						"signal",
						"signal"
					],
					"text": "adc~"
				}
			},
			{
				"box": {
					"id": "obj-136",
					"maxclass": "newobj",
					"numinlets": 2,
					"numoutlets": 1,
					"patching_rect": [
						82,
						898,
						97,
						22
					],
					"outlettype": [
						"signal"
					],
					"text": "sfrecord~ 2"
				}
			},
			{
				"box": {
					"id": "obj-137",
					"maxclass": "newobj",
					"numinlets": 2,
					"numoutlets": 3,
					"patching_rect": [
						193,
						898,
						83,
						22
					],
					"outlettype": [
						"signal",
						"signal",
						"bang"
					],
					"text": "sfplay~ 2"
				}
			},
			{
				"box": {
					"id": "obj-138",
					"maxclass": "newobj",
					"numinlets": 2,
					"numoutlets": 0,
					"patching_rect": [
						290,
						898,
						48,
						22
					],
					"text": "dac~"
				}
			},
			{
				"box": {
					"id": "obj-139",
					"maxclass": "live.text",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						352,
						898,
						46,
						15
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						540.0,
						134.0,
						46.0,
						15.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_enum": [
								"off",
								"on"
							],
							"parameter_info": "Record the input; what was recorded can be gone on from.",
							"parameter_initial": [
								0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "record",
							"parameter_mmax": 1,
							"parameter_shortname": "record",
							"parameter_type": 2
						}
					},
					"varname": "record",
					"mode": 1,
					"text": "record",
					"texton": "record"
				}
			},
			{
				"box": {
					"id": "obj-140",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						412,
						898,
						118,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend record"
				}
			},
			{
				"box": {
					"id": "obj-141",
					"maxclass": "live.text",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						544,
						898,
						46,
						16
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						740.0,
						88.0,
						46.0,
						16.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_enum": [
								"off",
								"on"
							],
							"parameter_info": "Hear the chosen result through this patch.",
							"parameter_initial": [
								0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "listen",
							"parameter_mmax": 1,
							"parameter_shortname": "listen",
							"parameter_type": 2
						}
					},
					"varname": "listen",
					"mode": 1,
					"text": "listen",
					"texton": "listen"
				}
			},
			{
				"box": {
					"id": "obj-142",
					"maxclass": "message",
					"numinlets": 2,
					"numoutlets": 1,
					"patching_rect": [
						604,
						898,
						55,
						22
					],
					"outlettype": [
						""
					],
					"text": "set 0"
				}
			},
			{
				"box": {
					"id": "obj-143",
					"maxclass": "dropfile",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						673,
						898,
						76,
						34
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						740.0,
						108.0,
						76.0,
						34.0
					]
				}
			},
			{
				"box": {
					"id": "obj-144",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						763,
						898,
						118,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend region"
				}
			},
			{
				"box": {
					"id": "obj-145",
					"maxclass": "dropfile",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						895,
						898,
						76,
						34
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						818.0,
						108.0,
						76.0,
						34.0
					]
				}
			},
			{
				"box": {
					"id": "obj-146",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						985,
						898,
						104,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend midi"
				}
			},
			{
				"box": {
					"id": "obj-147",
					"maxclass": "comment",
					"numinlets": 1,
					"numoutlets": 0,
					"patching_rect": [
						1103,
						898,
						70,
						16
					],
					"presentation": 1,
					"presentation_rect": [
						744.0,
						118.0,
						70.0,
						16.0
					],
					"text": "audio file",
					"fontsize": 9.5
				}
			},
			{
				"box": {
					"id": "obj-148",
					"maxclass": "comment",
					"numinlets": 1,
					"numoutlets": 0,
					"patching_rect": [
						20,
						944,
						60,
						16
					],
					"presentation": 1,
					"presentation_rect": [
						824.0,
						118.0,
						60.0,
						16.0
					],
					"text": "MIDI file",
					"fontsize": 9.5
				}
			},
			{
				"box": {
					"id": "obj-149",
					"maxclass": "live.text",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						20,
						972,
						52,
						16
					],
					"outlettype": [
						"",
						""
					],
					"presentation": 1,
					"presentation_rect": [
						788.0,
						88.0,
						52.0,
						16.0
					],
					"parameter_enable": 1,
					"saved_attribute_attributes": {
						"valueof": {
							"parameter_enum": [
								"off",
								"on"
							],
							"parameter_info": "Let the bridge follow this transport.",
							"parameter_initial": [
								0
							],
							"parameter_initial_enable": 1,
							"parameter_longname": "follow",
							"parameter_mmax": 1,
							"parameter_shortname": "follow",
							"parameter_type": 2
						}
					},
					"varname": "follow",
					"mode": 1,
					"text": "follow",
					"texton": "follow"
				}
			},
			{
				"box": {
					"id": "obj-150",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						86,
						972,
						118,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend follow"
				}
			},
			{
				"box": {
					"id": "obj-151",
					"maxclass": "newobj",
					"numinlets": 2,
					"numoutlets": 1,
					"patching_rect": [
						218,
						972,
						76,
						22
					],
					"outlettype": [
						"bang"
					],
					"text": "metro 50"
				}
			},
			{
				"box": {
					"id": "obj-152",
					"maxclass": "newobj",
					"numinlets": 2,
					"numoutlets": 9,
					"patching_rect": [
						308,
						972,
						83,
						22
					],
					"outlettype": [
						"int",
						"int",
						"float",
						"float",
						"float",
						"",
						"int",
						"float",
						""
					],
					"text": "transport"
				}
			},
			{
				"box": {
					"id": "obj-153",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 2,
					"patching_rect": [
						405,
						972,
						90,
						22
					],
					"outlettype": [
						"int",
						"int"
					],
					"text": "unpack 4 4"
				}
			},
			{
				"box": {
					"id": "obj-154",
					"maxclass": "newobj",
					"numinlets": 5,
					"numoutlets": 1,
					"patching_rect": [
						509,
						972,
						132,
						22
					],
					"outlettype": [
						""
					],
					"text": "pack 0. 0. 0 4 4"
				}
			},
			{
				"box": {
					"id": "obj-155",
					"maxclass": "newobj",
					"numinlets": 1,
					"numoutlets": 1,
					"patching_rect": [
						655,
						972,
						104,
						22
					],
					"outlettype": [
						""
					],
					"text": "prepend tick"
				}
			}
		],
		"lines": [
			{
				"patchline": {
					"source": [
						"obj-1",
						0
					],
					"destination": [
						"obj-2",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-2",
						12
					],
					"destination": [
						"obj-3",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-4",
						0
					],
					"destination": [
						"obj-5",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-5",
						0
					],
					"destination": [
						"obj-6",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-6",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-7",
						0
					],
					"destination": [
						"obj-8",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-8",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-9",
						0
					],
					"destination": [
						"obj-10",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-10",
						0
					],
					"destination": [
						"obj-11",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-11",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-12",
						0
					],
					"destination": [
						"obj-13",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-13",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-14",
						0
					],
					"destination": [
						"obj-15",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-15",
						0
					],
					"destination": [
						"obj-16",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-16",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-17",
						0
					],
					"destination": [
						"obj-18",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-18",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-19",
						0
					],
					"destination": [
						"obj-20",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-20",
						0
					],
					"destination": [
						"obj-21",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-21",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-22",
						0
					],
					"destination": [
						"obj-23",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-23",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-24",
						0
					],
					"destination": [
						"obj-25",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-25",
						0
					],
					"destination": [
						"obj-26",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-26",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-27",
						0
					],
					"destination": [
						"obj-28",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-28",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-29",
						0
					],
					"destination": [
						"obj-30",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-30",
						0
					],
					"destination": [
						"obj-31",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-31",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-32",
						0
					],
					"destination": [
						"obj-33",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-33",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-34",
						0
					],
					"destination": [
						"obj-35",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-35",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-36",
						0
					],
					"destination": [
						"obj-37",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-37",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-38",
						0
					],
					"destination": [
						"obj-39",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-39",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-40",
						0
					],
					"destination": [
						"obj-41",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-41",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-42",
						0
					],
					"destination": [
						"obj-43",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-43",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-44",
						0
					],
					"destination": [
						"obj-45",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-45",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-46",
						0
					],
					"destination": [
						"obj-47",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-47",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-48",
						0
					],
					"destination": [
						"obj-49",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-49",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-50",
						0
					],
					"destination": [
						"obj-51",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-51",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-53",
						1
					],
					"destination": [
						"obj-54",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-54",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-56",
						1
					],
					"destination": [
						"obj-57",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-57",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-59",
						1
					],
					"destination": [
						"obj-60",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-60",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-62",
						0
					],
					"destination": [
						"obj-63",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-63",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-64",
						0
					],
					"destination": [
						"obj-62",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-66",
						0
					],
					"destination": [
						"obj-67",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-67",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-68",
						0
					],
					"destination": [
						"obj-69",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-69",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-70",
						0
					],
					"destination": [
						"obj-71",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-71",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-72",
						0
					],
					"destination": [
						"obj-73",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-73",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-74",
						0
					],
					"destination": [
						"obj-75",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-75",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-76",
						0
					],
					"destination": [
						"obj-77",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-77",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-78",
						0
					],
					"destination": [
						"obj-79",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-79",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-80",
						0
					],
					"destination": [
						"obj-81",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-81",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-82",
						0
					],
					"destination": [
						"obj-83",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-83",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-84",
						0
					],
					"destination": [
						"obj-85",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-85",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-86",
						0
					],
					"destination": [
						"obj-87",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-87",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-88",
						0
					],
					"destination": [
						"obj-89",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-89",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-90",
						0
					],
					"destination": [
						"obj-91",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-91",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-2",
						5
					],
					"destination": [
						"obj-92",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-92",
						0
					],
					"destination": [
						"obj-94",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-94",
						0
					],
					"destination": [
						"obj-93",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-93",
						0
					],
					"destination": [
						"obj-95",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-95",
						0
					],
					"destination": [
						"obj-96",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-96",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-92",
						1
					],
					"destination": [
						"obj-97",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-4",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-7",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-9",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-12",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-14",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-17",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-19",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-22",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-24",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-27",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-29",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-32",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-34",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-36",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-38",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-40",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-42",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-44",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-46",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-48",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-50",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-53",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-56",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-59",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-62",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-66",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-97",
						0
					],
					"destination": [
						"obj-98",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-98",
						0
					],
					"destination": [
						"obj-90",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-2",
						4
					],
					"destination": [
						"obj-99",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						0
					],
					"destination": [
						"obj-100",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-100",
						0
					],
					"destination": [
						"obj-4",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						1
					],
					"destination": [
						"obj-101",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-101",
						0
					],
					"destination": [
						"obj-7",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						2
					],
					"destination": [
						"obj-102",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-102",
						0
					],
					"destination": [
						"obj-9",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						3
					],
					"destination": [
						"obj-103",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-103",
						0
					],
					"destination": [
						"obj-12",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						4
					],
					"destination": [
						"obj-104",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-104",
						0
					],
					"destination": [
						"obj-14",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						5
					],
					"destination": [
						"obj-105",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-105",
						0
					],
					"destination": [
						"obj-17",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						6
					],
					"destination": [
						"obj-106",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-106",
						0
					],
					"destination": [
						"obj-19",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						7
					],
					"destination": [
						"obj-107",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-107",
						0
					],
					"destination": [
						"obj-22",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						8
					],
					"destination": [
						"obj-108",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-108",
						0
					],
					"destination": [
						"obj-24",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						9
					],
					"destination": [
						"obj-109",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-109",
						0
					],
					"destination": [
						"obj-27",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						10
					],
					"destination": [
						"obj-110",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-110",
						0
					],
					"destination": [
						"obj-29",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						11
					],
					"destination": [
						"obj-111",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-111",
						0
					],
					"destination": [
						"obj-32",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						12
					],
					"destination": [
						"obj-112",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-112",
						0
					],
					"destination": [
						"obj-34",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						13
					],
					"destination": [
						"obj-113",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-113",
						0
					],
					"destination": [
						"obj-36",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						14
					],
					"destination": [
						"obj-114",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-114",
						0
					],
					"destination": [
						"obj-38",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						15
					],
					"destination": [
						"obj-115",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-115",
						0
					],
					"destination": [
						"obj-40",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						16
					],
					"destination": [
						"obj-116",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-116",
						0
					],
					"destination": [
						"obj-42",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						17
					],
					"destination": [
						"obj-117",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-117",
						0
					],
					"destination": [
						"obj-44",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						18
					],
					"destination": [
						"obj-118",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-118",
						0
					],
					"destination": [
						"obj-46",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						19
					],
					"destination": [
						"obj-119",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-119",
						0
					],
					"destination": [
						"obj-48",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						20
					],
					"destination": [
						"obj-120",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-120",
						0
					],
					"destination": [
						"obj-50",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						21
					],
					"destination": [
						"obj-121",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-121",
						0
					],
					"destination": [
						"obj-53",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						22
					],
					"destination": [
						"obj-122",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-122",
						0
					],
					"destination": [
						"obj-56",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						23
					],
					"destination": [
						"obj-123",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-123",
						0
					],
					"destination": [
						"obj-59",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-99",
						24
					],
					"destination": [
						"obj-124",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-124",
						0
					],
					"destination": [
						"obj-62",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-2",
						0
					],
					"destination": [
						"obj-127",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-127",
						0
					],
					"destination": [
						"obj-126",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-2",
						1
					],
					"destination": [
						"obj-128",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-2",
						2
					],
					"destination": [
						"obj-129",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-2",
						3
					],
					"destination": [
						"obj-130",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-2",
						6
					],
					"destination": [
						"obj-131",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-131",
						0
					],
					"destination": [
						"obj-132",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-132",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-2",
						10
					],
					"destination": [
						"obj-133",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-2",
						11
					],
					"destination": [
						"obj-134",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-135",
						0
					],
					"destination": [
						"obj-136",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-137",
						0
					],
					"destination": [
						"obj-138",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-135",
						1
					],
					"destination": [
						"obj-136",
						1
					],
					"order": 1
				}
			},
			{
				"patchline": {
					"source": [
						"obj-137",
						1
					],
					"destination": [
						"obj-138",
						1
					],
					"order": 1
				}
			},
			{
				"patchline": {
					"source": [
						"obj-2",
						7
					],
					"destination": [
						"obj-136",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-2",
						8
					],
					"destination": [
						"obj-137",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-139",
						0
					],
					"destination": [
						"obj-140",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-140",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-141",
						0
					],
					"destination": [
						"obj-137",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-137",
						2
					],
					"destination": [
						"obj-142",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-142",
						0
					],
					"destination": [
						"obj-141",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-143",
						0
					],
					"destination": [
						"obj-144",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-144",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-145",
						0
					],
					"destination": [
						"obj-146",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-146",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-149",
						0
					],
					"destination": [
						"obj-150",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-150",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-98",
						0
					],
					"destination": [
						"obj-149",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-149",
						0
					],
					"destination": [
						"obj-151",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-151",
						0
					],
					"destination": [
						"obj-152",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-152",
						7
					],
					"destination": [
						"obj-154",
						1
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-152",
						6
					],
					"destination": [
						"obj-154",
						2
					],
					"order": 1
				}
			},
			{
				"patchline": {
					"source": [
						"obj-152",
						5
					],
					"destination": [
						"obj-153",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-153",
						1
					],
					"destination": [
						"obj-154",
						4
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-153",
						0
					],
					"destination": [
						"obj-154",
						3
					],
					"order": 1
				}
			},
			{
				"patchline": {
					"source": [
						"obj-152",
						4
					],
					"destination": [
						"obj-154",
						0
					],
					"order": 2
				}
			},
			{
				"patchline": {
					"source": [
						"obj-154",
						0
					],
					"destination": [
						"obj-155",
						0
					],
					"order": 0
				}
			},
			{
				"patchline": {
					"source": [
						"obj-155",
						0
					],
					"destination": [
						"obj-1",
						0
					],
					"order": 0
				}
			}
		],
		"dependency_cache": [
			{
				"name": "dawbridge.js",
				"bootpath": ".",
				"type": "TEXT",
				"implicit": 1
			}
		],
		"autosave": 0,
		"parameters": {
			"obj-4": [
				"prompt1",
				"prompt1",
				0
			],
			"obj-7": [
				"weight1",
				"1",
				0
			],
			"obj-9": [
				"prompt2",
				"prompt2",
				0
			],
			"obj-12": [
				"weight2",
				"2",
				0
			],
			"obj-14": [
				"prompt3",
				"prompt3",
				0
			],
			"obj-17": [
				"weight3",
				"3",
				0
			],
			"obj-19": [
				"prompt4",
				"prompt4",
				0
			],
			"obj-22": [
				"weight4",
				"4",
				0
			],
			"obj-24": [
				"prompt5",
				"prompt5",
				0
			],
			"obj-27": [
				"weight5",
				"5",
				0
			],
			"obj-29": [
				"prompt6",
				"prompt6",
				0
			],
			"obj-32": [
				"weight6",
				"6",
				0
			],
			"obj-34": [
				"temperature",
				"temp",
				0
			],
			"obj-36": [
				"guidance",
				"guide",
				0
			],
			"obj-38": [
				"top_k",
				"top k",
				0
			],
			"obj-40": [
				"top_p",
				"top p",
				0
			],
			"obj-42": [
				"bpm",
				"bpm",
				0
			],
			"obj-44": [
				"morph",
				"morph",
				0
			],
			"obj-46": [
				"level",
				"level",
				0
			],
			"obj-48": [
				"duration",
				"length",
				0
			],
			"obj-50": [
				"latency",
				"latency",
				0
			],
			"obj-53": [
				"at",
				"at",
				0
			],
			"obj-56": [
				"blend",
				"blend",
				0
			],
			"obj-59": [
				"key",
				"key",
				0
			],
			"obj-66": [
				"port",
				"port",
				0
			],
			"obj-68": [
				"open",
				"open",
				0
			],
			"obj-70": [
				"cancel",
				"cancel",
				0
			],
			"obj-72": [
				"play",
				"play",
				0
			],
			"obj-74": [
				"stop all",
				"stop all",
				0
			],
			"obj-76": [
				"continue",
				"continue",
				0
			],
			"obj-78": [
				"undo",
				"undo",
				0
			],
			"obj-80": [
				"back 4 bars",
				"back 4 bars",
				0
			],
			"obj-82": [
				"no melody",
				"no melody",
				0
			],
			"obj-84": [
				"show",
				"show",
				0
			],
			"obj-86": [
				"npm install",
				"npm install",
				0
			],
			"obj-88": [
				"start",
				"start",
				0
			],
			"obj-90": [
				"take",
				"take",
				0
			],
			"obj-139": [
				"record",
				"record",
				0
			],
			"obj-141": [
				"listen",
				"listen",
				0
			],
			"obj-149": [
				"follow",
				"follow",
				0
			],
			"parameterbanks": {
				"0": {
					"index": 0,
					"name": "weights",
					"parameters": [
						"weight1",
						"weight2",
						"weight3",
						"weight4",
						"weight5",
						"weight6",
						"morph",
						"level"
					],
					"buttons": [
						"-",
						"-",
						"-",
						"-",
						"-",
						"-",
						"-",
						"-"
					]
				},
				"1": {
					"index": 1,
					"name": "sampling",
					"parameters": [
						"temperature",
						"guidance",
						"top_k",
						"top_p",
						"bpm",
						"duration",
						"latency",
						"-"
					],
					"buttons": [
						"-",
						"-",
						"-",
						"-",
						"-",
						"-",
						"-",
						"-"
					]
				}
			},
			"inherited_shortname": 1
		}
	}
}
